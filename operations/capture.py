"""Runs a program under mocks and returns everything it registered, with inputs and options as the engine gets them.

No engine, no plugin and no access is needed. A resource answers with its inputs, so what only a server knows is not
known here either.
"""

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import empty_pb2, json_format
from pulumi import ResourceHook
from pulumi.runtime import mocks, set_all_config
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS, configure
from pulumi.runtime.stack import run_in_stack

from checks.objects.model import POD_TEMPLATES
from settings.stackfile import PROJECT

# Values that are more than JSON carry this key (https://github.com/pulumi/pulumi/blob/v3.259.0/sdk/python/lib/pulumi/runtime/rpc.py).
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105
STACK_TYPE = "pulumi:pulumi:Stack"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource as the engine got it. ``secrets`` are the paths of inputs that arrived encrypted."""

    type: str
    name: str
    urn: str
    parent: str
    provider: str
    providers: Mapping[str, str]
    custom: bool
    protect: bool
    retain_on_delete: bool
    delete_before_replace: bool
    ignore_changes: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    """Type and name under which the engine knows it from earlier programs."""
    timeouts: Mapping[str, str]
    dependencies: tuple[str, ...]
    before_update: tuple[str, ...]
    """Names of the hooks that run before an update."""
    inputs: dict[str, Any]
    secrets: frozenset[str]

    @property
    def kubernetes_name(self) -> str:
        """Name of the Kubernetes object."""
        return str(self.inputs["metadata"]["name"])

    @property
    def namespace(self) -> str | None:
        """Namespace of the Kubernetes object; None for one of the whole cluster."""
        found = self.inputs["metadata"].get("namespace")
        return None if found is None else str(found)


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What one run of a program registered, in order, with the outputs of components and of the stack by URN."""

    resources: tuple[Registered, ...]
    hooks: Mapping[str, ResourceHook]
    outputs: Mapping[str, dict[str, Any]]
    exports: dict[str, Any]

    def of(self, *types: str) -> list[Registered]:
        """Resources whose type ends in ``:<one of types>``; fails when there is none, so that no test is vacuous."""
        found = [resource for resource in self.resources if resource.type.rsplit(":", 1)[-1] in types]
        if not found:
            raise AssertionError(f"the program registers no {' or '.join(types)}")
        return found

    def has(self, kind: str) -> bool:
        """Whether a resource of this kind is registered."""
        return any(resource.type.rsplit(":", 1)[-1] == kind for resource in self.resources)

    def one(self, kind: str, kubernetes_name: str) -> Registered:
        """The Kubernetes object of this kind and name."""
        found = [resource for resource in self.of(kind) if resource.kubernetes_name == kubernetes_name]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} objects {kind}/{kubernetes_name}")
        return found[0]

    def pods(self, *kinds: str) -> dict[str, dict[str, Any]]:
        """Every pod template, by the kind and name of its owner; of all kinds of owners, unless some are given."""
        found = {}
        for owner in self.of(*(kinds or POD_TEMPLATES)):
            template: Any = owner.inputs
            for step in POD_TEMPLATES[owner.type.rsplit(":", 1)[-1]]:
                template = template[step]
            found[f"{owner.type.rsplit(':', 1)[-1]}/{owner.kubernetes_name}"] = template
        return found

    def after(self, urn: str) -> frozenset[str]:
        """Everything that the engine finishes before this resource: what it depends on, in all steps, and parents."""
        by_urn = {resource.urn: resource for resource in self.resources}
        seen: set[str] = set()
        waiting = [urn]
        while waiting:
            resource = by_urn.get(waiting.pop())
            if resource is not None:
                new = {*resource.dependencies, resource.parent} - seen - {""}
                seen |= new
                waiting += new
        return frozenset(seen)


class _NoCalls(mocks.Mocks):
    """The program calls no provider function and every resource answers with its inputs."""

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"unknown provider function {args.token} with {sorted(args.args)}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise AssertionError(f"{args.typ} {args.name} is read, not registered")


@dataclass
class Recorder(mocks.MockMonitor):
    """A monitor that keeps whole registrations, where the SDK's keeps type, name and inputs."""

    known_types: frozenset[str] | None
    registered: list[Registered] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: dict[str, ResourceHook] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__(_NoCalls())

    def RegisterResource(  # noqa: N802
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Keep a registration and answer with its inputs; AssertionError when it is unknown or made twice."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if request.custom and self.known_types is not None and request.type not in self.known_types:
            raise AssertionError(f"unknown resource type {request.type} of {request.name}")
        secrets: set[str] = set()
        inputs = _plain(json_format.MessageToDict(request.object), "", secrets)
        resource = Registered(
            type=request.type,
            name=request.name,
            urn=urn,
            parent=request.parent,
            provider=request.provider,
            providers=dict(request.providers),
            custom=request.custom,
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            delete_before_replace=request.deleteBeforeReplace,
            ignore_changes=tuple(request.ignoreChanges),
            aliases=tuple(
                (each.spec.type or request.type, each.spec.name or request.name)
                if each.WhichOneof("alias") == "spec"
                else type_and_name(each.urn)
                for each in request.aliases
            ),
            timeouts={k: str(v) for k, v in json_format.MessageToDict(request.customTimeouts).items()},
            dependencies=tuple(request.dependencies),
            before_update=tuple(request.hooks.before_update),
            inputs=inputs,
            secrets=frozenset(secrets),
        )
        with self.lock:
            # The engine refuses a second resource of one URN; two of one type and name are told apart by parents alone.
            if any((each.type, each.name) == (resource.type, resource.name) for each in self.registered):
                raise AssertionError(f"{resource.type} {resource.name} is registered twice")
            self.registered.append(resource)
        return resource_pb2.RegisterResourceResponse(
            urn=urn, id=f"{request.name}-id" if request.custom else "", object=request.object
        )

    def RegisterResourceOutputs(  # noqa: N802
        self, request: resource_pb2.RegisterResourceOutputsRequest
    ) -> empty_pb2.Empty:
        """Keep what a component registers as its outputs."""
        with self.lock:
            self.outputs[request.urn] = _plain(json_format.MessageToDict(request.outputs), "", set())
        return empty_pb2.Empty()

    def register_resource_hook(self, hook: ResourceHook) -> None:
        """Keep a hook, in the place of the server that the engine would call it at."""
        with self.lock:
            if hook.name in self.hooks:
                raise AssertionError(f"hook {hook.name} is registered twice")
            self.hooks[hook.name] = hook


def _plain(value: Any, path: str, secrets: set[str]) -> Any:  # noqa: ANN401
    """A property as plain JSON; the paths of what was marked secret are added to ``secrets``."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            secrets.add(path)
            return _plain(value["value"], path, secrets)
        return {key: _plain(each, f"{path}.{key}" if path else key, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, f"{path}[{index}]", secrets) for index, each in enumerate(value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def type_and_name(urn: str) -> tuple[str, str]:
    """Type and name of a resource, from ``urn:pulumi:stack::project::parent$type::name``."""
    *_, types, name = urn.split("::", 3)
    return types.rsplit("$", 1)[-1], name


def run(
    program: Callable[[], object],
    *,
    stack: str,
    config: Mapping[str, str],
    secret_keys: Iterable[str] = (),
    known_types: frozenset[str] | None = None,
) -> Capture:
    """Run a program to its end, with its own event loop and settings, and return what it registered.

    ``config`` is keyed with the project's prefix, and ``secret_keys`` are those of it that are encrypted. Raises what
    the program raises, and ``AssertionError`` for a provider function, a resource registered twice, and a resource type
    that is not among ``known_types``.
    """
    recorder = Recorder(known_types=known_types)
    return contextvars.copy_context().run(_run, recorder, program, stack, dict(config), list(secret_keys))


def _run(
    recorder: Recorder, program: Callable[[], object], name: str, config: dict[str, str], secret_keys: list[str]
) -> Capture:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def started() -> None:
        program()

    # All that a program declares stays until its end; looking for garbage in it again and again is a third of the run.
    collecting = gc.isenabled()
    gc.disable()
    try:
        deployment = recorder.GetDeploymentInfo(empty_pb2.Empty())  # type: ignore[no-untyped-call]
        configure(
            mocks.MockSettings(  # type: ignore[no-untyped-call]
                monitor=recorder,
                monitor_features=set(deployment.supportedFeatures),
                engine=mocks.MockEngine(None),
                project=PROJECT,
                stack=name,
                dry_run=False,
            )
        )
        SETTINGS.callbacks = recorder
        set_all_config(config, secret_keys)
        loop.run_until_complete(run_in_stack(started))
    finally:
        if collecting:
            gc.enable()
        asyncio.set_event_loop(None)
        loop.close()
    root = next((urn for urn in recorder.outputs if STACK_TYPE in urn and urn.split("::")[2] == STACK_TYPE), "")
    return Capture(
        resources=tuple(recorder.registered),
        hooks=recorder.hooks,
        outputs=recorder.outputs,
        exports=recorder.outputs.get(root, {}),
    )
