"""All rules over declared objects, by the names under which the policy pack reports them."""

from checks.objects import access, data, pod_security, pods
from checks.objects.model import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        name="pod-security-restricted",
        why="Pods keep the Pod Security Standard `restricted`.",
        find=pod_security.restricted,
        alone=True,
    ),
    Rule(
        name="read-only-root",
        why="Containers write to declared volumes alone.",
        find=pod_security.read_only_root,
        alone=True,
    ),
    Rule(
        name="container-sizes",
        why="Every container states requests and limits.",
        find=pods.sized,
        alone=True,
    ),
    Rule(
        name="limit-range",
        why="Every container is within the LimitRange of its namespace.",
        find=pods.within_limit_range,
        alone=False,
    ),
    Rule(
        name="image-digests",
        why="Mainnet runs images by digest.",
        find=pods.pinned,
        alone=True,
    ),
    Rule(
        name="no-default-token",
        why="No pod gets a token of the API server unasked.",
        find=pods.no_token_by_default,
        alone=True,
    ),
    Rule(
        name="own-service-account",
        why="Each pod has an account of its own, with a token only where it has rights.",
        find=pods.own_accounts,
        alone=False,
    ),
    Rule(
        name="no-secret-in-clear",
        why="Secrets stand in Secrets alone.",
        find=data.nothing_in_clear,
        alone=True,
    ),
    Rule(
        name="no-copied-secret",
        why="No object repeats a value of a Secret.",
        find=data.nothing_copied_from_a_secret,
        alone=False,
    ),
    Rule(
        name="least-privilege",
        why="Rights are named one by one and end at the namespace.",
        find=access.least_privilege,
        alone=True,
    ),
    Rule(
        name="protected-data",
        why="What holds data cannot be deleted by mistake.",
        find=data.protected,
        alone=True,
    ),
    Rule(
        name="isolated-pods",
        why="A network policy limits every pod in both directions.",
        find=access.isolated,
        alone=False,
    ),
    Rule(
        name="node-ports",
        why="Services are reached by NodePorts of their environment or not at all.",
        find=access.node_ports,
        alone=True,
    ),
    Rule(
        name="proxied-records",
        why="Public records are proxied, with the automatic TTL.",
        find=access.proxied,
        alone=True,
    ),
)
