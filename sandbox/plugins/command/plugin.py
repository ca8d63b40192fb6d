"""The command provider: ``remote.Command`` and ``remote.CopyToRemote``. It dials in create, update and delete only.

https://github.com/pulumi/pulumi-command/tree/v1.2.1/provider/pkg/provider/remote
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

from sandbox.plugins import versions
from sandbox.plugins.command import copying, ssh
from sandbox.plugins.diffing import changes
from sandbox.plugins.provider import (
    Change,
    CheckResult,
    Diff,
    EngineLog,
    Existing,
    Properties,
    Provider,
    ProviderError,
    Severity,
    resource_type,
)
from sandbox.plugins.values import UNKNOWN, Json, Secret, Unknown, has_unknown, plain, with_secrets_of

ANNOUNCEMENT = "sandbox stand-in for pulumi-command, acts over real SSH"

_COMMAND = "command:remote:Command"
_COPY = "command:remote:CopyToRemote"
_INPUTS = {
    _COMMAND: (
        *("connection", "create", "update", "delete", "triggers", "stdin", "environment", "logging"),
        "addPreviousOutputInEnv",
    ),
    _COPY: ("connection", "source", "remotePath", "triggers"),
}
_CONNECTION_DEFAULTS = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
_LOGGED = {
    "stdout": ("stdout",),
    "stderr": ("stderr",),
    "stdoutAndStderr": ("stdout", "stderr"),
    "none": (),
}


class CommandProvider(Provider):
    """See :class:`sandbox.plugins.provider.Provider`."""

    version = versions.COMMAND
    announcement = ANNOUNCEMENT

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @override
    def check_config(self, olds: Properties, news: Properties) -> CheckResult:
        return CheckResult(news)

    @override
    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        return Diff()

    @override
    def configure(self, inputs: Properties, log: EngineLog) -> None:
        self._log = log

    @override
    def cancel(self) -> None:
        self._cancelled.set()

    @override
    def check(self, urn: str, olds: Properties, news: Properties, seed: bytes) -> CheckResult:
        token = resource_type(urn)
        if token not in _INPUTS:
            message = (
                f"{ANNOUNCEMENT}: {token} is not available. Known: {', '.join(sorted(_INPUTS))}. Use the real plugin."
            )
            raise ProviderError(message)
        failures = [
            (name, f"{ANNOUNCEMENT}: {token} has no input {name!r}")
            for name in sorted(news.keys() - set(_INPUTS[token]))
            if not name.startswith("__")
        ]
        connection = plain(news.get("connection"))
        if not isinstance(connection, Unknown):
            if not isinstance(connection, dict) or not connection.get("host"):
                failures.append(("connection", "connection.host is required"))
            else:
                news = {**news, "connection": Secret(_with_defaults(connection))}
        if token == _COPY and not isinstance(plain(news.get("source")), dict):
            failures.append(("asset", "either asset or archive must be set"))
        return CheckResult(news, failures)

    @override
    def diff(self, urn: str, olds: Properties, old_inputs: Properties, news: Properties, ignore: list[str]) -> Diff:
        return Diff(changes(plain(old_inputs), plain(news), ("triggers",), ignore))

    @override
    def create(self, urn: str, inputs: Properties, timeout: float, preview: bool) -> tuple[str, Properties]:
        if resource_type(urn) == _COPY:
            if not preview:
                self._copy(urn, inputs)
            return "" if preview else secrets.token_hex(4), inputs
        if preview:
            return "", {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        outputs = self._run(urn, plain(inputs).get("create"), inputs, {})
        return f"{urn.rsplit('::', 1)[-1]}{secrets.token_hex(4)}", {**inputs, **outputs}

    @override
    def update(self, change: Change) -> Properties:
        if resource_type(change.urn) == _COPY:
            old, new = plain(change.olds), plain(change.news)
            moved = old.get("remotePath") != new.get("remotePath")
            if not change.preview and (moved or _content(old.get("source")) != _content(new.get("source"))):
                self._copy(change.urn, change.news)
            return change.news
        if change.preview:
            return {**change.news, "stdout": UNKNOWN, "stderr": UNKNOWN}
        given = plain(change.news)
        command = given.get("update") if given.get("update") is not None else given.get("create")
        return {**change.news, **self._run(change.urn, command, change.news, change.olds)}

    @override
    def delete(self, urn: str, resource_id: str, olds: Properties, timeout: float) -> None:
        command = plain(olds).get("delete")
        if command is not None and resource_type(urn) == _COMMAND:
            self._run(urn, command, olds, olds)

    @override
    def read(self, urn: str, resource_id: str, olds: Properties, old_inputs: Properties) -> Existing | None:
        if not olds:
            message = f"{resource_type(urn)} cannot be imported: it has no live state to read"
            raise ProviderError(message)
        return Existing(resource_id, olds, old_inputs)

    def _run(self, urn: str, command: str | None, inputs: Properties, previous: Properties) -> Properties:
        """The command's outputs; those of the previous run when there is nothing to run."""
        before: Properties = {name: previous[name] for name in ("stdout", "stderr") if name in previous}
        if command is None:
            return {"stdout": "", "stderr": "", **before}
        given = plain(inputs)
        logged = _LOGGED[given.get("logging") or "stdoutAndStderr"]

        def line(stream: str, text: str) -> None:
            if stream in logged:
                self._log.log(Severity.INFO, text, urn)

        with self._session(urn, given["connection"]) as session:
            environment = self._environment(urn, session, given, plain(before))
            outcome = ssh.run(session, command, given.get("stdin") or "", environment, line)
        if outcome.status != 0:
            message = f'Process exited with status {outcome.status}: running "{command}":\n{outcome.combined}'
            raise ProviderError(message)
        return {
            "stdout": with_secrets_of(outcome.stdout, before.get("stdout")),
            "stderr": with_secrets_of(outcome.stderr, before.get("stderr")),
        }

    def _environment(self, urn: str, session: ssh.Session, given: Json, before: Json) -> dict[str, str]:
        """The variables the server accepts. A refused one is an error; for a previous run's output only a warning."""
        environment: dict[str, str] = dict(given.get("environment") or {})
        for name, value in environment.items():
            if not ssh.accepts_environment(session, name, value):
                message = f'could not set environment variable "{name}": {_ACCEPT_ENV.format(name=name)}'
                raise ProviderError(message)
        if given.get("addPreviousOutputInEnv") is not False:
            for stream, value in before.items():
                name = f"PULUMI_COMMAND_{stream.upper()}"
                if value and ssh.accepts_environment(session, name, value):
                    environment[name] = value
                elif value:
                    self._log.log(Severity.WARNING, _ACCEPT_ENV.format(name=name), urn)
        return environment

    def _copy(self, urn: str, inputs: Properties) -> None:
        given = plain(inputs)
        with self._session(urn, given["connection"]) as session:
            copying.copy(session, given["source"], given["remotePath"])

    @contextmanager
    def _session(self, urn: str, connection: dict[str, Json]) -> Iterator[ssh.Session]:
        session = ssh.connect(
            ssh.Endpoint.parse(connection),
            self._cancelled,
            lambda text: self._log.status(Severity.INFO, text, urn),
        )
        try:
            yield session
        finally:
            session.close()


_ACCEPT_ENV = (
    "Unable to set '{name}'. This only works if the SSH server is configured to accept these variables via AcceptEnv. "
    "Alternatively, prefix the command itself with the variables in the form 'VAR=value command'"
)


def _with_defaults(connection: dict[str, Json]) -> dict[str, Json]:
    proxy = connection.get("proxy")
    filled = {**_CONNECTION_DEFAULTS, **{key: value for key, value in connection.items() if value is not None}}
    return {**filled, "proxy": _with_defaults(proxy)} if isinstance(proxy, dict) and not has_unknown(proxy) else filled


def _content(source: Json) -> Json:
    return source.get("hash", source) if isinstance(source, dict) else source
