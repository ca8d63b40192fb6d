"""Sizes, images and identities of declared pods."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checks.objects.model import Breach, Declared, items, mapping, of_kind, pods, told, where
from settings.problems import Problem
from settings.types import amount, has_digest

SIZES = ("cpu", "memory")
PINNED = frozenset({"mainnet"})
"""Stacks whose images are pinned, whatever their stack file says."""


def sized(declared: Sequence[Declared]) -> Iterator[Breach]:
    """Every container states requests and limits, the one within the other (X-06)."""
    for pod in pods(declared):
        for path, container in pod.containers():
            resources = mapping(container, "resources")
            for size in SIZES:
                request, limit = (mapping(resources, kind).get(size) for kind in ("requests", "limits"))
                for kind, value in (("requests", request), ("limits", limit)):
                    if value is None:
                        yield pod.owner, Problem(f"{path}.resources.{kind}.{size}", "missing", "state it")
                if request is not None and limit is not None and _above(request, limit):
                    where_it_is, problem = f"{path}.resources.requests.{size}", f"above its limit of {limit}"
                    yield pod.owner, Problem(where_it_is, problem, "lower it", told(request))


def within_limit_range(declared: Sequence[Declared]) -> Iterator[Breach]:
    """What the LimitRange of the namespace would refuse at admission (QT-05)."""
    ranges: dict[str, list[Mapping[str, Any]]] = {}
    for each in of_kind(declared, "LimitRange"):
        limits = items(mapping(each.inputs, "spec"), "limits")
        ranges.setdefault(each.namespace, []).extend(one for one in limits if one.get("type") == "Container")
    for pod in pods(declared):
        for path, container in pod.containers():
            for allowed in ranges.get(pod.owner.namespace, ()):
                for problem in _outside(f"{path}.resources", mapping(container, "resources"), allowed):
                    yield pod.owner, problem


def _outside(path: str, resources: Mapping[str, Any], allowed: Mapping[str, Any]) -> Iterator[Problem]:
    for size in SIZES:
        request, limit = (mapping(resources, kind).get(size) for kind in ("requests", "limits"))
        low, high = (mapping(allowed, bound).get(size) for bound in ("min", "max"))
        if request is not None and low is not None and _above(low, request):
            yield Problem(f"{path}.requests.{size}", f"below the LimitRange's {low}", f"at least {low}", told(request))
        if limit is not None and high is not None and _above(limit, high):
            yield Problem(f"{path}.limits.{size}", f"above the LimitRange's {high}", f"at most {high}", told(limit))


def _above(one: object, other: object) -> bool:
    return amount(str(one)) > amount(str(other))


def pinned(declared: Sequence[Declared]) -> Iterator[Breach]:
    """An image's tag can change its content between two roll-outs; its digest cannot."""
    for pod in pods(declared):
        for path, container in pod.containers():
            image = str(container.get("image"))
            if pod.owner.stack in PINNED and not has_digest(image):
                yield (
                    pod.owner,
                    Problem(f"{path}.image", "not pinned to a digest", "append @sha256:…", told(image)),
                )


def no_token_by_default(declared: Sequence[Declared]) -> Iterator[Breach]:
    """A token of the API server is mounted only where a pod asks for it (RBAC-04, RBAC-05)."""
    for account in of_kind(declared, "ServiceAccount"):
        if account.inputs.get("automountServiceAccountToken") is not False:
            path = f"{where(account)}.automountServiceAccountToken"
            yield account, Problem(path, "every pod of the account gets a token", "write false")
    for secret in of_kind(declared, "Secret"):
        if secret.inputs.get("type") == "kubernetes.io/service-account-token":
            yield secret, Problem(f"{where(secret)}.type", "a token that never ends", "let the kubelet mount one")
    for pod in pods(declared):
        if pod.spec.get("serviceAccountName") in {None, "", "default"}:
            path = f"{pod.path}.serviceAccountName"
            yield pod.owner, Problem(path, "the account of the whole namespace", "give the pod an account of its own")
        if not isinstance(pod.spec.get("automountServiceAccountToken"), bool):
            path = f"{pod.path}.automountServiceAccountToken"
            yield pod.owner, Problem(path, "left to the account", "write false, or true for a pod that calls the API")


def own_accounts(declared: Sequence[Declared]) -> Iterator[Breach]:
    """Each pod's account exists and is its own (RBAC-04); a token is mounted only where a binding gives it rights."""
    accounts = {(each.namespace, each.name) for each in of_kind(declared, "ServiceAccount")}
    bound = {
        (str(subject.get("namespace") or binding.namespace), subject.get("name"))
        for binding in of_kind(declared, "RoleBinding")
        for subject in items(binding.inputs, "subjects")
        if subject.get("kind") == "ServiceAccount"
    }
    used = Counter((pod.owner.namespace, pod.spec.get("serviceAccountName")) for pod in pods(declared))
    for pod in pods(declared):
        account = (pod.owner.namespace, pod.spec.get("serviceAccountName"))
        path = f"{pod.path}.serviceAccountName"
        if account not in accounts:
            yield pod.owner, Problem(path, "no account of this stack", "declare it", told(account[1]))
        if used[account] > 1:
            yield pod.owner, Problem(path, "another pod's account too", "give each its own", told(account[1]))
        if account in bound:
            continue
        if pod.spec.get("automountServiceAccountToken"):
            path = f"{pod.path}.automountServiceAccountToken"
            yield pod.owner, Problem(path, "a token without rights", "write false, or bind a Role to the account")
        for volume in items(pod.spec, "volumes"):
            if any(source.get("serviceAccountToken") for source in items(mapping(volume, "projected"), "sources")):
                path = f"{pod.path}.volumes[{volume.get('name')}]"
                yield pod.owner, Problem(path, "a token without rights", "remove it, or bind a Role to the account")
