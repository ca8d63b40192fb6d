"""What an update would do to each resource: from two declarations, or from the engine's own preview."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from operations.capture import SECRET, SIGNATURE, type_and_name
from operations.report.facts import HIDDEN, Object

LONGEST_VALUE = 60
# What holds data, or takes all that is in it along.
DATA = frozenset({"Namespace", "PersistentVolume", "PersistentVolumeClaim", "StatefulSet"})
# Inputs that no update changes in place, by type token. Kubernetes:
# https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/diff.go; DNS records:
# https://github.com/cloudflare/cloudflare-go, `RequiresReplace`; commands: every trigger replaces,
# https://github.com/pulumi/pulumi-command/issues/189.
OBJECT_IDENTITY = ("metadata.name", "metadata.namespace")
REPLACING: Mapping[str, tuple[str, ...]] = {
    "kubernetes:apps/v1:DaemonSet": ("spec.selector",),
    "kubernetes:apps/v1:Deployment": ("spec.selector",),
    "kubernetes:apps/v1:StatefulSet": (
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    "kubernetes:batch/v1:Job": ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    "kubernetes:core/v1:PersistentVolumeClaim": (
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
    ),
    "kubernetes:core/v1:ResourceQuota": ("spec.scopes",),
    "kubernetes:core/v1:Secret": ("type",),
    "kubernetes:core/v1:Service": ("spec.clusterIP",),
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": ("roleRef",),
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": ("roleRef",),
    "kubernetes:storage.k8s.io/v1:StorageClass": ("parameters", "provisioner"),
    "cloudflare:index/dnsRecord:DnsRecord": ("zoneId", "type"),
    "cloudflare:index/zoneSetting:ZoneSetting": ("zoneId", "settingId"),
    "command:remote:Command": ("triggers",),
    "command:remote:CopyToRemote": ("triggers",),
}


class Operation(StrEnum):
    """What becomes of a resource; the order is that of the report."""

    DELETE = "delete"
    REPLACE = "replace"
    CREATE = "create"
    UPDATE = "update"
    IMPORT = "import"


@dataclass(frozen=True, kw_only=True)
class Field:
    """A changed input, its values shortened to one line; ``replaces`` when it cannot change in place."""

    path: str
    before: str
    after: str
    replaces: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of one resource.

    ``name`` is the object's in the cluster, with its namespace, or the logical name where it has none. ``protected`` is
    about the resource as it is: the engine refuses to delete or replace it.
    """

    operation: Operation
    kind: str
    name: str
    urn: str
    fields: tuple[Field, ...] = ()
    protected: bool = False

    @property
    def endangers_data(self) -> bool:
        """Whether something that holds data goes away."""
        return self.operation in {Operation.DELETE, Operation.REPLACE} and self.kind in DATA


def between(before: Iterable[Object], after: Iterable[Object]) -> tuple[Change, ...]:
    """What turns one declaration into another. A resource is the same under its URN or one of its aliases."""
    old = {each.urn: each for each in before}
    by_name = {(each.type, each.name): each.urn for each in old.values()}
    found = []
    for new in after:
        urn = next((by_name[alias] for alias in new.aliases if alias in by_name), "") if new.urn not in old else new.urn
        was = old.pop(urn, None)
        if was is None:
            found.append(_change(Operation.CREATE, new.urn, new.inputs))
            continue
        fields = tuple(_fields(was.inputs, new.inputs, new.type, new.ignored))
        if was.protect != new.protect:
            fields += (Field(path="(option) protect", before=_one_line(was.protect), after=_one_line(new.protect)),)
        if fields:
            operation = Operation.REPLACE if any(each.replaces for each in fields) else Operation.UPDATE
            found.append(_change(operation, new.urn, new.inputs, fields, protected=was.protect))
    found += [_change(Operation.DELETE, gone.urn, gone.inputs, protected=gone.protect) for gone in old.values()]
    return _in_order(found)


def of_preview(text: str) -> tuple[Change, ...]:
    """What ``pulumi preview --json`` says. Raises ``ValueError`` when the text is none."""
    start = text.find("{")
    try:
        document = json.loads(text[start:]) if start >= 0 else None
    except json.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("steps"), list):
        raise ValueError("not the output of `pulumi preview --json`. Fix: pulumi preview --json --stack … >FILE")
    found: dict[str, Change] = {}
    for step in document["steps"]:
        change = _of_step(step)
        if change is not None:
            # A replacement is three steps; the one that was seen first has the reasons.
            found.setdefault(change.urn, change)
    return _in_order(found.values())


_OPERATIONS = {
    "create": Operation.CREATE,
    "update": Operation.UPDATE,
    "delete": Operation.DELETE,
    "replace": Operation.REPLACE,
    "create-replacement": Operation.REPLACE,
    "delete-replaced": Operation.REPLACE,
    "import": Operation.IMPORT,
    "import-replacement": Operation.REPLACE,
}


# In the engine's notation, a key with a dot in it; in both, an item of a list.
_QUOTED_KEY, _ITEM = re.compile(r'\["([^"]*)"\]'), re.compile(r"\[[^]]*\]")


def _of_step(step: Mapping[str, Any]) -> Change | None:
    operation = _OPERATIONS.get(step["op"])
    old, new = step.get("oldState") or {}, step.get("newState") or {}
    if operation is None or not (new or old).get("custom"):
        return None
    was, will = (_without_secrets(each.get("inputs") or {}) for each in (old, new))
    fields: tuple[Field, ...] = ()
    if operation in {Operation.UPDATE, Operation.REPLACE}:
        token = type_and_name(step["urn"])[0]
        fields = tuple(_fields(was, will, token)) if old and new else ()
        detailed: Mapping[str, Any] = step.get("detailedDiff") or {}
        # What the server knows and the inputs do not: drift, and secrets, whose values stay hidden.
        more = [path for path in detailed if not any(_same_path(path, each.path) for each in fields)]
        fields += tuple(
            Field(path=path, before="?", after="?", replaces=str(detailed[path].get("kind", "")).endswith("-replace"))
            for path in sorted(more)
        )
    return _change(operation, step["urn"], will or was, fields, protected=bool(old.get("protect")))


def _same_path(one: str, other: str) -> bool:
    """Whether paths of two notations speak of the same input, or of one within the other.

    One tells the items of a list by number and the other by name, so that which item it is stays open.
    """
    first, second = (_ITEM.sub("[]", _QUOTED_KEY.sub(r".\1", each)) for each in (one, other))
    return _within(first, [second]) or _within(second, [first])


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return HIDDEN
        return {key: _without_secrets(each) for key, each in value.items()}
    return [_without_secrets(each) for each in value] if isinstance(value, list) else value


def _change(
    operation: Operation,
    urn: str,
    inputs: Mapping[str, Any],
    fields: tuple[Field, ...] = (),
    *,
    protected: bool = False,
) -> Change:
    token, logical = type_and_name(urn)
    metadata = inputs.get("metadata")
    name = logical
    if token.startswith("kubernetes:") and isinstance(metadata, Mapping) and "name" in metadata:
        name = "/".join(str(metadata[key]) for key in ("namespace", "name") if key in metadata)
    kind = token.rsplit(":", 1)[-1]
    kind = f"{kind} provider" if token.startswith("pulumi:providers:") else kind
    return Change(operation=operation, kind=kind, name=name, urn=urn, fields=fields, protected=protected)


def _in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    order = list(Operation)
    return tuple(
        sorted(changes, key=lambda each: (not each.endangers_data, order.index(each.operation), each.kind, each.name))
    )


# --- fields -----------------------------------------------------------------------------------------------------------


def _fields(
    before: Mapping[str, Any], after: Mapping[str, Any], token: str, ignored: tuple[str, ...] = ()
) -> Iterator[Field]:
    replacing = REPLACING.get(token, ())
    if token.startswith("kubernetes:"):
        replacing = (*OBJECT_IDENTITY, *replacing)
    for path, old, new in _differences(before, after, ""):
        if not _within(path, ignored):
            was, will = _shown(old, new)
            yield Field(path=path, before=was, after=will, replaces=_within(path, replacing))


def _within(path: str, parts: Iterable[str]) -> bool:
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in parts)


class _Absent:
    """Stands for an input that is not given."""


_ABSENT = _Absent()


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - JSON
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            below = f"{path}.{key}" if path else key
            yield from _differences(before.get(key, _ABSENT), after.get(key, _ABSENT), below)
    elif isinstance(before, list) and isinstance(after, list):
        by_name = _are_named(before) and _are_named(after)
        old, new = ({item["name"] if by_name else at: item for at, item in enumerate(each)} for each in (before, after))
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}[{key}]")
        if list(old) != list(new) and old == new:
            yield path, list(old), list(new)
    else:
        yield path, before, after


def _are_named(items: list[Any]) -> bool:
    """Whether items are told apart by their names, as containers and variables are."""
    names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _shown(before: Any, after: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
    """Two values in one line each; of long texts how many lines differ."""
    if isinstance(before, str) and isinstance(after, str) and "\n" in f"{before}{after}":
        old, new = before.splitlines(), after.splitlines()
        blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
        kept = sum(block.size for block in blocks)
        return f"{len(old) - kept} lines", f"{len(new) - kept} lines in their place"
    return _one_line(before), _one_line(after)


def _one_line(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, _Absent):
        return "nothing"
    if isinstance(value, str) and "\n" in value:
        return f"a text of {len(value.splitlines())} lines"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
