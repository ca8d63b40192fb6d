"""Rules on whose namespace and whose Fabric network a stack uses."""

from collections.abc import Iterator

from settings.model import Environment, Fabric, Observability
from settings.problems import Problem, shown
from settings.rules_exposure import NODE_PORTS

CLUSTER_DOMAIN = ".svc.cluster.local"
MAINNET = "mainnet"
FABRIC = "fabric"
"""Fabric's namespace, with the environment's name behind it in all but mainnet (NS-04 to NS-06)."""


def namespace_is_our_own(environment: Environment, fabric: Fabric | None) -> Iterator[Problem]:
    """A quota, a default deny and, one day, a deletion belong in no namespace of others (CIS Kubernetes 5.6.4)."""
    namespace = environment.namespace
    other = _other_environment(environment, namespace)
    if _is_kubernetes(namespace):
        owner = "Kubernetes"
    elif (fabric is not None and namespace == fabric.namespace) or f"{namespace}-".startswith(f"{FABRIC}-"):
        owner = "Fabric"
    elif other is not None:
        owner = other
    else:
        return
    fix = f"take one of its own, as backend-{environment.name}"
    yield Problem("environment.namespace", f"a namespace of {owner}", fix, shown(namespace))


def fabric_is_the_environments_own(environment: Environment, fabric: Fabric | None) -> Iterator[Problem]:
    """No environment reaches the Fabric network of another (NP-10), nor the cluster's own pods for one (NP-12)."""
    if fabric is None:
        return
    if _is_kubernetes(fabric.namespace):
        fix = "name the namespace of the Fabric network"
        yield Problem("fabric.namespace", "a namespace of Kubernetes", fix, shown(fabric.namespace))
    other = _other_environment(environment, fabric.namespace)
    if other is None and fabric.namespace == FABRIC and environment.name != MAINNET:
        other = MAINNET
    if other is not None:
        yield Problem(
            "fabric.namespace",
            f"the Fabric network of {other}, in {environment.name}",
            f"name the namespace of {environment.name}'s own",
            shown(fabric.namespace),
        )


def _is_kubernetes(namespace: str) -> bool:
    return namespace == "default" or namespace.startswith("kube-")


def _other_environment(environment: Environment, namespace: str) -> str | None:
    """The environment whose name a namespace ends in, when it is another one."""
    return next((each for each in NODE_PORTS if each != environment.name and namespace.endswith(f"-{each}")), None)


def fabric_endpoints_are_in_its_namespace(fabric: Fabric | None) -> Iterator[Problem]:
    """The network policies open the way to one namespace; an endpoint in another is never reached (NP-03)."""
    if fabric is None:
        return
    for family, endpoints in (
        ("orderers", fabric.orderers),
        ("peers", fabric.peers),
        ("certificateAuthorities", fabric.certificate_authorities),
    ):
        for index, endpoint in enumerate(endpoints):
            labels = endpoint.host.removesuffix(CLUSTER_DOMAIN).split(".")
            if endpoint.host.endswith(CLUSTER_DOMAIN) and labels[-1] != fabric.namespace:
                yield Problem(
                    f"fabric.{family}[{index}].host",
                    f"not in fabric.namespace, {fabric.namespace}, which alone is opened",
                    f"write it as {labels[0]}.{fabric.namespace}{CLUSTER_DOMAIN}",
                    shown(endpoint.host),
                )


def fabric_has_an_endpoint(fabric: Fabric | None) -> Iterator[Problem]:
    """The network policy opens the endpoints' ports; Kubernetes reads a list of no ports as every port (NP-03)."""
    if fabric is not None and not (fabric.orderers or fabric.peers or fabric.certificate_authorities):
        yield Problem(
            "fabric",
            "names no endpoint, so no port to open",
            "list its orderers and peers, or remove gx-backend-infra:fabric",
        )


def only_production_pages(environment: Environment, observability: Observability | None) -> Iterator[Problem]:
    """Nobody gets up at night for an environment that may break (X-61)."""
    alerts = observability.alerts if observability else None
    if alerts is not None and alerts.page and environment.labels.get("environment") != "production":
        yield Problem(
            "observability.alerts.page",
            f"{environment.name} is not labelled environment: production",
            "set it to false",
        )


RULES = (
    only_production_pages,
    namespace_is_our_own,
    fabric_is_the_environments_own,
    fabric_endpoints_are_in_its_namespace,
    fabric_has_an_endpoint,
)
