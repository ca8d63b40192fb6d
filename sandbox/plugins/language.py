"""Stand-in for Pulumi's Python language host: ``pulumirpc.LanguageRuntime`` over gRPC.

Each run starts the program in a fresh interpreter, as the real host does, so that start and import costs are its own.
The protocol: https://github.com/pulumi/pulumi/blob/master/proto/pulumi/language.proto
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2
from typing_extensions import override

from sandbox.plugins.provider import Severity
from sandbox.plugins.serve import OPTIONS, Engine, announce_and_wait

ANNOUNCEMENT = "sandbox stand-in for pulumi-language-python, runs the real program"
ANALYZER = "analyzer"
"""What the engine calls a policy pack."""
EXIT_MESSAGE_SHOWN = 32
"""Exit status of a program whose error the user has already seen; the engine then only stops."""

_RUNNER = Path(__file__).with_name("run_program.py")


def interpreter(options: dict[str, Any], root: Path) -> str:
    """The program's interpreter: of ``runtime.options.virtualenv`` when set, else the first ``python3`` on PATH."""
    virtualenv = options.get("virtualenv")
    if virtualenv:
        return str(root / str(virtualenv) / "bin" / "python")
    return shutil.which("python3") or sys.executable


def _printed(process: subprocess.Popen[bytes]) -> Iterator[language_pb2.RunPluginResponse]:
    """What a process prints, line by line as it comes, until it closes both streams."""
    lines: queue.Queue[language_pb2.RunPluginResponse | None] = queue.Queue()

    def read(stream: IO[bytes] | None, response: Callable[[bytes], language_pb2.RunPluginResponse]) -> None:
        for line in stream or ():
            lines.put(response(line))
        lines.put(None)

    streams = (
        (process.stdout, lambda line: language_pb2.RunPluginResponse(stdout=line)),
        (process.stderr, lambda line: language_pb2.RunPluginResponse(stderr=line)),
    )
    for each in streams:
        threading.Thread(target=read, args=each, daemon=True).start()
    for _ in streams:
        yield from iter(lines.get, None)


class _Servicer(language_pb2_grpc.LanguageRuntimeServicer):
    def __init__(self, engine_address: str) -> None:
        self._engine_address = engine_address
        self._running: set[subprocess.Popen[bytes]] = set()

    @override
    def Handshake(
        self, request: language_pb2.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        self._engine_address = request.engine_address or self._engine_address
        return language_pb2.LanguageHandshakeResponse()

    @override
    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi"))

    @override
    def GetRequiredPlugins(
        self, request: language_pb2.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPluginsResponse:
        return language_pb2.GetRequiredPluginsResponse()

    @override
    def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        """Nothing: the engine would try to download what it is told of, and the stand-ins are already on PATH."""
        return language_pb2.GetRequiredPackagesResponse()

    @override
    def RuntimeOptionsPrompts(
        self, request: language_pb2.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    @override
    def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        yield language_pb2.InstallDependenciesResponse(
            stdout=b"Dependencies are installed by the project's Makefile, not by this stand-in.\n"
        )

    @override
    def About(self, request: language_pb2.AboutRequest, context: grpc.ServicerContext) -> language_pb2.AboutResponse:
        executable = self._interpreter(request.info)
        version = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
        return language_pb2.AboutResponse(executable=executable, version=version.stdout.split()[-1])

    @override
    def GetProgramDependencies(
        self, request: language_pb2.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetProgramDependenciesResponse:
        listing = subprocess.run(
            [self._interpreter(request.info), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            capture_output=True,
            text=True,
            check=True,
        )
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=item["name"], version=item["version"])
                for item in json.loads(listing.stdout)
            ]
        )

    @override
    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.end()
        return empty_pb2.Empty()

    def end(self) -> None:
        """End what runs. A program that outlived a killed engine would wait for its answers for ever."""
        for process in list(self._running):
            process.terminate()

    @override
    def Run(self, request: language_pb2.RunRequest, context: grpc.ServicerContext) -> language_pb2.RunResponse:
        Engine(self._engine_address).log(Severity.INFO, ANNOUNCEMENT)
        executable = self._interpreter(request.info)
        if not Path(executable).exists():
            return language_pb2.RunResponse(
                error=f"the program's interpreter {executable} does not exist; run 'make install' to create it"
            )
        command = [
            *(executable, "-P", "-u", str(_RUNNER)),
            *("--monitor", request.monitor_address),
            *("--engine", self._engine_address),
            *("--project", request.project),
            *("--stack", request.stack),
            *("--organization", request.organization),
            *("--parallel", str(request.parallel)),
            *("--root-directory", request.info.root_directory),
            *(["--dry-run"] if request.dryRun else []),
            str(Path(request.info.program_directory) / request.info.entry_point),
            *request.args,
        ]
        environment = {
            **os.environ,
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        environment.pop("PYTHONPATH", None)
        process = subprocess.Popen(command, cwd=request.pwd, env=environment, stdin=subprocess.DEVNULL)
        self._running.add(process)
        try:
            status = process.wait()
        finally:
            self._running.discard(process)
        if status == 0:
            return language_pb2.RunResponse()
        if status == EXIT_MESSAGE_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {status}")

    @override
    def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        """A policy pack, until the engine hangs up. The pack serves the engine itself; its first line is the port.

        The real host stands between the two and hands the stack's name and config over in the environment; this one
        does not, so a pack learns the stack from the URNs.
        """
        if request.kind != ANALYZER:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED, f"{ANNOUNCEMENT}: runs policy packs, no {request.kind} plugins"
            )
        Engine(self._engine_address).log(Severity.INFO, f"{ANNOUNCEMENT}: policy pack {request.info.program_directory}")
        process = subprocess.Popen(
            [
                *(self._interpreter(request.info), "-u", "-m", "pulumi.policy"),
                *request.args,
                request.info.program_directory,
            ],
            cwd=request.info.program_directory,
            env=dict(each.partition("=")[::2] for each in request.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._running.add(process)
        context.add_callback(process.terminate)
        try:
            yield from _printed(process)
            yield language_pb2.RunPluginResponse(exitcode=process.wait())
        finally:
            self._running.discard(process)

    @staticmethod
    def _interpreter(info: language_pb2.ProgramInfo) -> str:
        return interpreter(json_format.MessageToDict(info.options), Path(info.root_directory))


def main() -> None:
    """Serve the engine until it ends this process. The engine's address is the last argument."""
    if len(sys.argv) < 2:
        sys.exit(f"{ANNOUNCEMENT}: started by the Pulumi engine, not by hand")
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=OPTIONS)
    servicer = _Servicer(sys.argv[-1])
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce_and_wait(port)
    servicer.end()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
