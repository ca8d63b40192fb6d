"""What a stand-in provider implements, and what it may raise. No gRPC here: `serve` maps it to the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from sandbox.plugins.values import Json

Properties = dict[str, Json]


class Severity(Enum):
    """Severities of the engine's log."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


class EngineLog(Protocol):
    """The engine's diagnostics. ``status`` lines are shown while a resource is in progress and then forgotten."""

    def log(self, severity: Severity, message: str, urn: str = "") -> None:
        """Show ``message`` in the run's diagnostics, at the resource when ``urn`` is given."""

    def status(self, severity: Severity, message: str, urn: str) -> None:
        """Show ``message`` beside the resource until the next one."""


class ProviderError(Exception):
    """An operation failed and changed nothing that the state has to record. The message is shown to the user as is."""


class InitFailedError(ProviderError):
    """The object exists but did not become ready: the engine keeps ``properties`` and retries with an update.

    ``inputs`` are those of the live object and are given by a read only.
    """

    def __init__(
        self,
        message: str,
        resource_id: str,
        properties: Properties,
        reasons: Sequence[str],
        inputs: Properties | None = None,
    ) -> None:
        super().__init__(message)
        self.resource_id = resource_id
        self.properties = properties
        self.inputs = inputs
        self.reasons = [message, *reasons]


class ChangeKind(Enum):
    """Kinds of one changed path, numbered as in ``pulumirpc.PropertyDiff.Kind``."""

    ADD = 0
    ADD_REPLACE = 1
    DELETE = 2
    DELETE_REPLACE = 3
    UPDATE = 4
    UPDATE_REPLACE = 5

    @property
    def replaces(self) -> bool:
        """Whether this change needs a new object."""
        return self in {ChangeKind.ADD_REPLACE, ChangeKind.DELETE_REPLACE, ChangeKind.UPDATE_REPLACE}

    def replacing(self) -> ChangeKind:
        """The same change, as one that needs a new object."""
        return self if self.replaces else ChangeKind(self.value + 1)


@dataclass(frozen=True)
class Diff:
    """Changed paths (``spec.ports[0].port``) and what they entail; empty ``changes`` means nothing to do."""

    changes: dict[str, ChangeKind] = field(default_factory=dict)
    delete_before_replace: bool = False

    @property
    def replaces(self) -> list[str]:
        """The paths that force a replacement."""
        return [path for path, kind in self.changes.items() if kind.replaces]


@dataclass(frozen=True)
class CheckResult:
    """Checked inputs, and the reasons (property, text) for which they are refused."""

    inputs: Properties
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Existing:
    """A resource that was found: its id, its whole state, and the inputs that would produce it."""

    resource_id: str
    properties: Properties
    inputs: Properties


@dataclass(frozen=True)
class Change:
    """An update asked for: what is recorded, what is wanted, and the paths whose changes are ignored."""

    urn: str
    resource_id: str
    olds: Properties
    old_inputs: Properties
    news: Properties
    timeout: float
    ignore: list[str]
    preview: bool


class Provider(Protocol):
    """One stand-in. Every method may be called from several threads at once; ``configure`` comes first."""

    version: str
    announcement: str

    def check_config(self, olds: Properties, news: Properties) -> CheckResult:
        """Check the provider's own configuration."""

    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        """Say which configuration changes need the provider, and with it everything it manages, replaced."""

    def configure(self, inputs: Properties, log: EngineLog) -> None:
        """Take the configuration. Makes no request."""

    def check(self, urn: str, olds: Properties, news: Properties, seed: bytes) -> CheckResult:
        """Validate inputs and fill in defaults. Makes no request."""

    def diff(self, urn: str, olds: Properties, old_inputs: Properties, news: Properties, ignore: list[str]) -> Diff:
        """Compare recorded state with new inputs. Makes no request."""

    def create(self, urn: str, inputs: Properties, timeout: float, preview: bool) -> tuple[str, Properties]:
        """Create, or plan to; return the id and the state."""

    def update(self, change: Change) -> Properties:
        """Change in place, or plan to; return the state."""

    def delete(self, urn: str, resource_id: str, olds: Properties, timeout: float) -> None:
        """Delete and wait until it is gone; something already gone is success."""

    def read(self, urn: str, resource_id: str, olds: Properties, old_inputs: Properties) -> Existing | None:
        """Read the live resource, or ``None`` when it does not exist."""

    def cancel(self) -> None:
        """Stop waiting as soon as possible."""


def resource_type(urn: str) -> str:
    """The resource's own type token in a URN (``urn:pulumi:stack::project::parent$type::name``)."""
    return urn.split("::")[2].rsplit("$", 1)[-1]


def resource_name(urn: str) -> str:
    """The resource's logical name in a URN."""
    return urn.split("::", 3)[3]
