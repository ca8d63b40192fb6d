"""What a rule sees of a declared resource, and what it says about it.

Values may be the lazy views of ``pulumi_policy``, which raise where a preview does not know a value yet: rules ask for
``Mapping`` and ``Sequence``, and touch only what they judge.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from settings.problems import Problem, shown

POD_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where an object of each kind holds its pod."""

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One resource as the engine knows it: ``type`` is its token, ``urn`` ends in its logical name."""

    urn: str
    type: str
    stack: str
    protect: bool
    inputs: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Kind of a Kubernetes object, or last part of another type."""
        return self.type.rsplit(":", 1)[-1]

    @property
    def in_cluster(self) -> bool:
        """Whether it is a Kubernetes object."""
        return self.type.startswith("kubernetes:")

    @property
    def name(self) -> str:
        """Name of the Kubernetes object; of any other resource, its logical name."""
        name = mapping(self.inputs, "metadata").get("name") if self.in_cluster else None
        return str(name or self.urn.rsplit("::", 1)[-1])

    @property
    def namespace(self) -> str:
        """Namespace of the object; empty for one of the whole cluster."""
        return str(mapping(self.inputs, "metadata").get("namespace") or "")


@dataclass(frozen=True, kw_only=True)
class PodTemplate:
    """The pod that an object declares. ``path`` leads to its spec, for reports."""

    owner: Declared
    path: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every container of every family, with its path."""
        for family in CONTAINERS:
            for container in items(self.spec, family):
                yield f"{self.path}.{family}[{container.get('name')}]", container


Breach = tuple[Declared, Problem]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. ``alone`` says that it judges every resource by itself, so it can run before the resource is made."""

    name: str
    why: str
    find: Callable[[Sequence[Declared]], Iterator[Breach]]
    alone: bool


def pods(declared: Sequence[Declared]) -> Iterator[PodTemplate]:
    """Every pod template."""
    for each in declared:
        steps = POD_TEMPLATES.get(each.kind) if each.in_cluster else None
        if steps is not None:
            template = mapping(each.inputs, *steps)
            yield PodTemplate(
                owner=each,
                path=".".join((where(each), *steps, "spec")),
                labels=mapping(template, "metadata", "labels"),
                spec=mapping(template, "spec"),
            )


def of_kind(declared: Sequence[Declared], *kinds: str) -> Iterator[Declared]:
    """Kubernetes objects of these kinds."""
    return (each for each in declared if each.in_cluster and each.kind in kinds)


def where(declared: Declared) -> str:
    """How a report names a resource."""
    return f"{declared.kind}/{declared.name}"


def told(value: object) -> str:
    """A value as a report shows it. The engine hands whole numbers over as floats."""
    return shown(int(value) if isinstance(value, float) and value.is_integer() else value)


def mapping(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at a path; empty where there is none."""
    for step in path:
        found = value.get(step)
        value = found if isinstance(found, Mapping) else {}
    return value


def items(value: Mapping[str, Any], key: str) -> Sequence[Any]:
    """The list under a key; empty where there is none."""
    found = value.get(key)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()
