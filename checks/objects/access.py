"""Who may do and reach what: RBAC, network policies, Services, DNS records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checks.objects.model import Breach, Declared, items, mapping, of_kind, pods, told, where
from settings.problems import Problem
from settings.rules_exposure import foreign_node_port

RIGHTS_THAT_GIVE_RIGHTS = frozenset({"bind", "escalate", "impersonate"})
WRITING = frozenset({"create", "update", "patch"})
POD_MAKERS = frozenset(
    {
        "cronjobs",
        "daemonsets",
        "deployments",
        "jobs",
        "pods",
        "replicasets",
        "replicationcontrollers",
        "serviceaccounts/token",
        "statefulsets",
    }
)
"""Who writes one gets the token, and the Secrets, of any account of the namespace (X-63)."""
AUTOMATIC = 1
"""TTL of a proxied record: Cloudflare's own choice (CF-05)."""


def least_privilege(declared: Sequence[Declared]) -> Iterator[Breach]:
    """Rights are named one by one and end at the namespace (RBAC-05)."""
    for each in of_kind(declared, "ClusterRole", "ClusterRoleBinding"):
        yield (
            each,
            Problem(where(each), "reaches over every namespace", f"declare a {each.kind.removeprefix('Cluster')}"),
        )
    for role in of_kind(declared, "Role", "ClusterRole"):
        for index, rule in enumerate(items(role.inputs, "rules")):
            path = f"{where(role)}.rules[{index}]"
            for field in ("apiGroups", "resources", "verbs"):
                for named in items(rule, field):
                    if "*" in str(named):
                        yield role, Problem(f"{path}.{field}", "a wildcard", "name each", told(named))
                    elif field == "verbs" and named in RIGHTS_THAT_GIVE_RIGHTS:
                        yield (
                            role,
                            Problem(f"{path}.verbs", "gives its holder the rights of others", "remove it", told(named)),
                        )
            made = POD_MAKERS.intersection(items(rule, "resources"))
            if made and WRITING.intersection(items(rule, "verbs")):
                got = told(", ".join(sorted(made)))
                yield role, Problem(f"{path}.resources", "writing it gives the rights of others", "only read it", got)
    for binding in of_kind(declared, "RoleBinding"):
        for subject in items(binding.inputs, "subjects"):
            namespace = subject.get("namespace") or binding.namespace
            if subject.get("kind") != "ServiceAccount" or namespace != binding.namespace:
                got = told(f"{subject.get('kind')} {subject.get('name')}")
                yield binding, Problem(f"{where(binding)}.subjects", "no account of the namespace", "remove it", got)
        if mapping(binding.inputs, "roleRef").get("kind") == "ClusterRole":
            yield (
                binding,
                Problem(f"{where(binding)}.roleRef", "a role of the whole cluster", "bind a Role of this stack"),
            )


def isolated(declared: Sequence[Declared]) -> Iterator[Breach]:
    """A pod that no policy selects in a direction is open in it (NP-01). Host firewalls do not see pod traffic.

    Nor is one limited by a policy that allows everybody, or every port: Kubernetes reads an empty list as all.
    """
    for policy in of_kind(declared, "NetworkPolicy"):
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for index, rule in enumerate(items(mapping(policy.inputs, "spec"), direction)):
                for field, opened in ((peers, "every address"), ("ports", "every port")):
                    if not items(rule, field):
                        path = f"{where(policy)}.spec.{direction}[{index}].{field}"
                        yield policy, Problem(path, f"empty, which opens {opened}", "name those that are meant")
    policies = [(each.namespace, mapping(each.inputs, "spec")) for each in of_kind(declared, "NetworkPolicy")]
    for pod in pods(declared):
        for direction in ("Ingress", "Egress"):
            if not any(
                namespace == pod.owner.namespace
                and direction in items(spec, "policyTypes")
                and selects(mapping(spec, "podSelector"), pod.labels)
                for namespace, spec in policies
            ):
                fix = f"declare a policy of type {direction} that selects it"
                yield pod.owner, Problem(where(pod.owner), f"no network policy limits its {direction.lower()}", fix)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector picks a pod with these labels."""
    return all(labels.get(key) == value for key, value in mapping(selector, "matchLabels").items()) and all(
        _matches(expression, labels) for expression in items(selector, "matchExpressions")
    )


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    # https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
    found, values = labels.get(expression["key"]), items(expression, "values")
    match expression["operator"]:
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
    raise ValueError(f"{expression['operator']} is no operator of a LabelSelector")


def node_ports(declared: Sequence[Declared]) -> Iterator[Breach]:
    """From outside, a Service is reached by a NodePort of its own environment or not at all (X-05, X-16)."""
    for service in of_kind(declared, "Service"):
        spec = mapping(service.inputs, "spec")
        kind = spec.get("type") or "ClusterIP"
        if kind not in {"ClusterIP", "NodePort"}:
            path = f"{where(service)}.spec.type"
            yield service, Problem(path, "open to the outside past the edge", "ClusterIP or NodePort", told(kind))
        if items(spec, "externalIPs"):
            path = f"{where(service)}.spec.externalIPs"
            yield service, Problem(path, "takes over an address of the outside", "remove it")
        for port in items(spec, "ports"):
            path = f"{where(service)}.spec.ports[{port.get('name')}].nodePort"
            number = port.get("nodePort")
            if number is None and kind == "NodePort":
                yield service, Problem(path, "left to the cluster's choice", "state it")
            elif number is not None:
                foreign = foreign_node_port(service.stack, int(number))
                if foreign is not None:
                    yield service, Problem(path, *foreign, told(number))


def proxied(declared: Sequence[Declared]) -> Iterator[Breach]:
    """A record that is not proxied publishes an origin (CF-05); a proxied one has the automatic TTL."""
    for record in declared:
        if record.kind == "LoadBalancer" and not record.in_cluster and record.inputs.get("proxied") is not True:
            yield record, Problem(f"{where(record)}.proxied", "publishes the addresses of origins", "write true")
        if record.kind in {"DnsRecord", "Record"} and record.inputs.get("type") in {"A", "AAAA", "CNAME"}:
            if record.inputs.get("proxied") is not True:
                yield record, Problem(f"{where(record)}.proxied", "publishes the address of an origin", "write true")
            if record.inputs.get("ttl") != AUTOMATIC:
                got = told(record.inputs.get("ttl"))
                yield record, Problem(f"{where(record)}.ttl", "a proxied record has none of its own", "write 1", got)
