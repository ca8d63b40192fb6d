"""Serves a stand-in provider to the engine: ``pulumirpc.ResourceProvider`` over gRPC.

The protocol: https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2
from typing_extensions import override

from sandbox.plugins.provider import (
    Change,
    ChangeKind,
    CheckResult,
    Diff,
    EngineLog,
    InitFailedError,
    Properties,
    Provider,
    ProviderError,
    Severity,
)
from sandbox.plugins.values import decode, encode

_MAX_MESSAGE_BYTES = 400 * 1024 * 1024
"""The engine's own limit; https://github.com/pulumi/pulumi/blob/master/sdk/go/common/util/rpcutil/grpc.go."""

OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
]
_ORPHAN_CHECK_SECONDS = 2.0
_WORKERS = 128
"""Threads that serve requests; more than any ``--parallel`` in use, because an awaited roll-out occupies one."""


_SEVERITIES = {
    Severity.DEBUG: engine_pb2.DEBUG,
    Severity.INFO: engine_pb2.INFO,
    Severity.WARNING: engine_pb2.WARNING,
    Severity.ERROR: engine_pb2.ERROR,
}
_KINDS = {
    ChangeKind.ADD: provider_pb2.PropertyDiff.ADD,
    ChangeKind.ADD_REPLACE: provider_pb2.PropertyDiff.ADD_REPLACE,
    ChangeKind.DELETE: provider_pb2.PropertyDiff.DELETE,
    ChangeKind.DELETE_REPLACE: provider_pb2.PropertyDiff.DELETE_REPLACE,
    ChangeKind.UPDATE: provider_pb2.PropertyDiff.UPDATE,
    ChangeKind.UPDATE_REPLACE: provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


_Result = TypeVar("_Result")


class Engine(EngineLog):
    """The engine's diagnostics over gRPC. A message that cannot be delivered any more is dropped: the run is over."""

    def __init__(self, address: str) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address, options=OPTIONS))

    @override
    def log(self, severity: Severity, message: str, urn: str = "") -> None:
        self._send(severity, message, urn, ephemeral=False)

    @override
    def status(self, severity: Severity, message: str, urn: str) -> None:
        self._send(severity, message, urn, ephemeral=True)

    def _send(self, severity: Severity, message: str, urn: str, *, ephemeral: bool) -> None:
        request = engine_pb2.LogRequest(
            severity=_SEVERITIES[severity],
            message=message,
            urn=urn,
            ephemeral=ephemeral,
        )
        try:
            self._stub.Log(request)
        except grpc.RpcError as error:
            print(f"engine log unreachable ({error.code()}): {message}", file=sys.stderr)


def _abort_init_failed(context: grpc.ServicerContext, error: InitFailedError) -> None:
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.resource_id,
        properties=encode(error.properties),
        reasons=error.reasons,
        inputs=None if error.inputs is None else encode(error.inputs),
    )
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _diff_response(diff: Diff) -> provider_pb2.DiffResponse:
    some = bool(diff.changes)
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if some else provider_pb2.DiffResponse.DIFF_NONE,
        replaces=diff.replaces,
        deleteBeforeReplace=diff.delete_before_replace,
        diffs=sorted({path.split(".")[0].split("[")[0] for path in diff.changes}),
        detailedDiff={path: provider_pb2.PropertyDiff(kind=_KINDS[kind]) for path, kind in diff.changes.items()},
        hasDetailedDiff=True,
    )


class _Servicer(provider_pb2_grpc.ResourceProviderServicer):
    def __init__(self, provider: Provider, engine_address: str) -> None:
        self._provider = provider
        self._engine = Engine(engine_address)

    @override
    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    @override
    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._provider.version)

    @override
    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._provider.cancel()
        return empty_pb2.Empty()

    @override
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        self._engine.log(Severity.INFO, self._provider.announcement)
        self._guard(context, lambda: self._provider.configure(decode(request.args), self._engine))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    @override
    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        result = self._guard(context, lambda: self._provider.check_config(decode(request.olds), decode(request.news)))
        return self._check_response(result)

    @override
    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        olds = request.old_inputs if request.HasField("old_inputs") else request.olds
        return _diff_response(
            self._guard(context, lambda: self._provider.diff_config(decode(olds), decode(request.news)))
        )

    @override
    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        result = self._guard(
            context,
            lambda: self._provider.check(request.urn, decode(request.olds), decode(request.news), request.randomSeed),
        )
        return self._check_response(result)

    @override
    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        diff = self._guard(
            context,
            lambda: self._provider.diff(
                request.urn,
                decode(request.olds),
                decode(request.old_inputs),
                decode(request.news),
                list(request.ignoreChanges),
            ),
        )
        return _diff_response(diff)

    @override
    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        resource_id, properties = self._guard(
            context,
            lambda: self._provider.create(request.urn, decode(request.properties), request.timeout, request.preview),
        )
        return provider_pb2.CreateResponse(id=resource_id, properties=encode(properties))

    @override
    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        properties: Properties = self._guard(
            context,
            lambda: self._provider.update(
                Change(
                    request.urn,
                    request.id,
                    decode(request.olds),
                    decode(request.old_inputs),
                    decode(request.news),
                    request.timeout,
                    list(request.ignoreChanges),
                    request.preview,
                )
            ),
        )
        return provider_pb2.UpdateResponse(properties=encode(properties))

    @override
    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._guard(
            context,
            lambda: self._provider.delete(request.urn, request.id, decode(request.properties), request.timeout),
        )
        return empty_pb2.Empty()

    @override
    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        found = self._guard(
            context,
            lambda: self._provider.read(request.urn, request.id, decode(request.properties), decode(request.inputs)),
        )
        if found is None:
            return provider_pb2.ReadResponse(id="")
        return provider_pb2.ReadResponse(
            id=found.resource_id, properties=encode(found.properties), inputs=encode(found.inputs)
        )

    @override
    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"{self._provider.announcement}: function {request.tok} is not available"
        )

    @staticmethod
    def _check_response(result: CheckResult) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(
            inputs=encode(result.inputs),
            failures=[provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in result.failures],
        )

    @staticmethod
    def _guard(context: grpc.ServicerContext, operation: Callable[[], _Result]) -> _Result:
        try:
            return operation()
        except InitFailedError as error:
            _abort_init_failed(context, error)
        except ProviderError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        raise AssertionError("unreachable: abort raises")


def main(provider: Provider) -> None:
    """Serve ``provider`` until the engine ends this process. The engine's address is the first argument."""
    if len(sys.argv) < 2:
        sys.exit(f"{provider.announcement}: started by the Pulumi engine, not by hand (no engine address given)")
    server = grpc.server(ThreadPoolExecutor(max_workers=_WORKERS), options=OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Servicer(provider, sys.argv[1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce_and_wait(port)
    provider.cancel()
    server.stop(grace=None)


def announce_and_wait(port: int) -> None:
    """Tell the engine the port this process serves on, and return when the engine ends it or is gone itself."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    engine = os.getppid()
    os.write(1, f"{port}\n".encode())
    while not done.wait(_ORPHAN_CHECK_SECONDS) and os.getppid() == engine:
        continue
