"""SSH connections as pulumi-command makes them: pinned host key, retried dials, an optional jump host.

https://github.com/pulumi/pulumi-command/blob/v1.2.1/provider/pkg/provider/remote/connection.go
"""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from sandbox.plugins.provider import ProviderError

UNLIMITED = -1
_FIRST_PAUSE_SECONDS = 0.1
_PAUSE_GROWTH = 1.5
_LONGEST_PAUSE_SECONDS = 5.0
_AUTHENTICATION_SECONDS = 30.0


@dataclass(frozen=True)
class Endpoint:
    """How to reach one host. ``host_key`` empty means the host is not verified, as in the real plugin."""

    host: str
    port: int
    user: str
    password: str
    private_key: str
    private_key_password: str
    host_key: str
    dial_error_limit: int
    per_dial_seconds: float
    proxy: Endpoint | None

    @staticmethod
    def parse(connection: dict[str, Any]) -> Endpoint:
        """The endpoint of a checked ``connection`` input."""
        proxy = connection.get("proxy")
        return Endpoint(
            host=str(connection["host"]),
            port=int(connection["port"]),
            user=str(connection["user"]),
            password=str(connection.get("password") or ""),
            private_key=str(connection.get("privateKey") or ""),
            private_key_password=str(connection.get("privateKeyPassword") or ""),
            host_key=str(connection.get("hostKey") or ""),
            dial_error_limit=int(connection["dialErrorLimit"]),
            per_dial_seconds=float(connection["perDialTimeout"]),
            proxy=Endpoint.parse(proxy) if proxy else None,
        )


@dataclass(frozen=True)
class Session:
    """An authenticated connection, and the one to the jump host it runs through."""

    transport: paramiko.Transport
    through: Session | None

    def close(self) -> None:
        """Close this connection and the one below it."""
        self.transport.close()
        if self.through:
            self.through.close()


def connect(endpoint: Endpoint, cancelled: threading.Event, status: Callable[[str], None]) -> Session:
    """A session with ``endpoint``; ``status`` is told of every failed dial. Raises :class:`ProviderError`."""
    through = None
    if endpoint.proxy:
        try:
            through = connect(endpoint.proxy, cancelled, status)
        except ProviderError as error:
            message = f"proxy: {error}"
            raise ProviderError(message) from error
    return _retried(endpoint, cancelled, status, lambda: _dial(endpoint, through))


def _retried(
    endpoint: Endpoint, cancelled: threading.Event, status: Callable[[str], None], dial: Callable[[], Session]
) -> Session:
    failures = 0
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return dial()
        except (OSError, EOFError, paramiko.SSHException) as error:
            failures += 1
            cause = str(error) or type(error).__name__
        limited = endpoint.dial_error_limit != UNLIMITED
        if (limited and failures > endpoint.dial_error_limit) or cancelled.is_set():
            message = (
                f"after {failures} failed attempts: ssh to {endpoint.user}@{endpoint.host}:{endpoint.port}: {cause}"
            )
            raise ProviderError(message)
        status(f"Dial {failures}/{endpoint.dial_error_limit if limited else 'inf'} failed: retrying ({cause})")
        cancelled.wait(pause)
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)


def _dial(endpoint: Endpoint, through: Session | None) -> Session:
    seconds = endpoint.per_dial_seconds or None
    address = (endpoint.host, endpoint.port)
    sock: Any = (
        through.transport.open_channel("direct-tcpip", address, ("127.0.0.1", 0), timeout=seconds)
        if through
        else socket.create_connection(address, timeout=seconds)
    )
    transport = paramiko.Transport(sock)
    transport.banner_timeout = seconds or _AUTHENTICATION_SECONDS
    transport.auth_timeout = _AUTHENTICATION_SECONDS
    try:
        pinned = _public_key(endpoint.host_key) if endpoint.host_key else None
        if pinned:
            transport.get_security_options().key_types = _algorithms(pinned)
        transport.start_client(timeout=seconds)
        if pinned and transport.get_remote_server_key() != pinned:
            raise paramiko.SSHException("ssh: host key mismatch")
        if endpoint.private_key:
            key = _private_key(endpoint.private_key, endpoint.private_key_password)
            transport.auth_publickey(endpoint.user, key)
        elif endpoint.password:
            transport.auth_password(endpoint.user, endpoint.password)
        else:
            _by_agent(transport, endpoint.user)
    except BaseException:
        transport.close()
        raise
    return Session(transport, through)


def _by_agent(transport: paramiko.Transport, user: str) -> None:
    """Log in with the first key of the agent at $SSH_AUTH_SOCK that the server takes."""
    keys = paramiko.Agent().get_keys()
    for key in keys:
        try:
            transport.auth_publickey(user, key)
        except paramiko.AuthenticationException:
            continue
        return
    raise paramiko.AuthenticationException(f"none of the {len(keys)} keys of the SSH agent is taken")


def _public_key(text: str) -> paramiko.PKey:
    """A key of an ``authorized_keys`` line."""
    fields = text.split()
    try:
        return paramiko.PKey.from_type_string(fields[0], base64.b64decode(fields[1]))
    except (IndexError, ValueError, paramiko.SSHException) as error:
        message = f"failed to parse host key: {error}; expected a line such as 'ssh-ed25519 AAAA…'"
        raise ProviderError(message) from error


def _algorithms(key: paramiko.PKey) -> tuple[str, ...]:
    """The host key algorithms that can present ``key``."""
    name = key.get_name()
    return ("rsa-sha2-512", "rsa-sha2-256") if name == "ssh-rsa" else (name,)


def _private_key(text: str, password: str) -> paramiko.PKey:
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password=password or None)
        except paramiko.SSHException:
            continue
    raise ProviderError("ssh: the private key is not an ed25519, ECDSA or RSA key, or its password is wrong")


@dataclass(frozen=True)
class Outcome:
    """What a remote command printed and how it ended."""

    status: int
    stdout: str
    stderr: str
    combined: str


def run(
    session: Session, command: str, stdin: str, environment: dict[str, str], line: Callable[[str, str], None]
) -> Outcome:
    """Run ``command`` by the user's login shell, fed with ``stdin``; ``line`` gets each line with its stream's name."""
    channel = session.transport.open_session()
    for name, value in environment.items():
        channel.set_environment_variable(name, value)
    channel.exec_command(command)
    collected: dict[str, list[bytes]] = {"stdout": [], "stderr": [], "combined": []}
    lock = threading.Lock()

    def drain(stream: str, receive: Callable[[int], bytes]) -> None:
        pending = b""
        while data := receive(65536):
            with lock:
                collected[stream].append(data)
                collected["combined"].append(data)
            *lines, pending = (pending + data).split(b"\n")
            for text in lines:
                line(stream, text.decode(errors="replace"))
        if pending:
            line(stream, pending.decode(errors="replace"))

    helpers = [
        threading.Thread(target=_feed, args=(channel, stdin.encode()), daemon=True),
        threading.Thread(target=drain, args=("stderr", channel.recv_stderr), daemon=True),
    ]
    for helper in helpers:
        helper.start()
    drain("stdout", channel.recv)
    helpers[1].join()
    status = channel.recv_exit_status()
    channel.close()
    text = {name: b"".join(parts).decode(errors="replace") for name, parts in collected.items()}
    return Outcome(status, text["stdout"].removesuffix("\n"), text["stderr"].removesuffix("\n"), text["combined"])


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    """Send standard input and its end; a command that does not read it all is no error."""
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except OSError:
        return


def accepts_environment(session: Session, name: str, value: str) -> bool:
    """Whether the server takes an environment variable (``AcceptEnv``), asked on a channel of its own."""
    channel = session.transport.open_session()
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("env")
    message.add_boolean(True)
    message.add_string(name)
    message.add_string(value)
    channel._event_pending()  # type: ignore[attr-defined]  # paramiko sends "env" without asking for the server's answer
    session.transport._send_user_message(message)  # type: ignore[attr-defined]
    try:
        channel._wait_for_event()  # type: ignore[attr-defined]
    except paramiko.SSHException:
        return False
    finally:
        channel.close()
    return True
