"""The program under mocks, with the resource types that it may use and with whole stacks."""

import functools
import json
import runpy
from collections.abc import Callable, Mapping

from operations import capture
from operations.capture import SECRET, SIGNATURE, STACK_TYPE, Capture, Registered
from settings.stackfile import ROOT
from tests.stacks import SECRET_KEYS, pulumi_config

__all__ = ["RESOURCE_TYPES", "SECRET", "SIGNATURE", "STACK_TYPE", "Capture", "Registered", "fresh", "run", "stack"]

# Every resource type of a provider that the program may use. Anything else stops the program, so that a new type is
# noticed here, by the sandbox's plugins and by their conformance suite.
# Those of OPTIONAL_TYPES belong to settings that no committed stack file has.
OPTIONAL_TYPES = frozenset(
    {
        "cloudflare:index/loadBalancer:LoadBalancer",
        "cloudflare:index/loadBalancerMonitor:LoadBalancerMonitor",
        "cloudflare:index/loadBalancerPool:LoadBalancerPool",
        "kubernetes:monitoring.coreos.com/v1:PodMonitor",
        "kubernetes:monitoring.coreos.com/v1:PrometheusRule",
        "kubernetes:monitoring.coreos.com/v1:ServiceMonitor",
        "kubernetes:monitoring.coreos.com/v1alpha1:AlertmanagerConfig",
    }
)
RESOURCE_TYPES = frozenset(
    {
        "pulumi:providers:cloudflare",
        "pulumi:providers:command",
        "pulumi:providers:kubernetes",
        "cloudflare:index/dnsRecord:DnsRecord",
        "cloudflare:index/zoneSetting:ZoneSetting",
        "command:remote:Command",
        "kubernetes:apps/v1:Deployment",
        "kubernetes:apps/v1:StatefulSet",
        "kubernetes:batch/v1:CronJob",
        "kubernetes:batch/v1:Job",
        "kubernetes:core/v1:ConfigMap",
        "kubernetes:core/v1:LimitRange",
        "kubernetes:core/v1:Namespace",
        "kubernetes:core/v1:PersistentVolumeClaim",
        "kubernetes:core/v1:ResourceQuota",
        "kubernetes:core/v1:Secret",
        "kubernetes:core/v1:Service",
        "kubernetes:core/v1:ServiceAccount",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "kubernetes:policy/v1:PodDisruptionBudget",
        "kubernetes:scheduling.k8s.io/v1:PriorityClass",
    }
)


def run(program: Callable[[], object], *, stack: str = "test", config: Mapping[str, str] | None = None) -> Capture:
    """Run a program to its end and return what it registered; ``AssertionError`` for an unknown type."""
    known = RESOURCE_TYPES | OPTIONAL_TYPES
    return capture.run(program, stack=stack, config=config or {}, secret_keys=SECRET_KEYS, known_types=known)


def stack(name: str, patch: Mapping[str, object] | None = None) -> Capture:
    """What the real program registers with a whole stack file, changed by ``patch``: run once, and for all tests."""
    return _once(name, json.dumps(patch or {}, sort_keys=True))


def fresh(name: str, patch: Mapping[str, object] | None = None) -> Capture:
    """The same of a run of its own."""
    return run(
        lambda: runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__"),
        stack=name,
        config=pulumi_config(name, patch),
    )


@functools.cache
def _once(name: str, patch: str) -> Capture:
    return fresh(name, json.loads(patch))
