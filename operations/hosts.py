"""The nodes over SSH, with OpenSSH and what the stack file says: pinned host keys, jump host, key or agent.

A private key of the stack file is held by an agent of its own for as long as the command runs; it touches no disk.
"""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.templates import render
from operations.stack import OperationError, last_line
from settings.model import Edge, Settings

CONNECT_SECONDS = 5
_JUMP = "gx-jump"
COMMAND_SECONDS = 90
_CONFIG = Path(__file__).parent / "templates/ssh_config.j2"
# What ssh itself exits with when there is no connection.
_NO_CONNECTION = 255


@dataclass(frozen=True)
class Hosts:
    """The provisioned nodes of a stack."""

    config: Path
    environment: Mapping[str, str]
    become_root: str

    def run(self, node: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command line on a node as the provisioning account.

        Raises ``OperationError`` when the node cannot be reached, refuses the command altogether, or has not answered
        within ``COMMAND_SECONDS``.
        """
        try:
            done = subprocess.run(
                ["ssh", "-F", str(self.config), node, command],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_SECONDS,
                env=self.environment,
            )
        except subprocess.TimeoutExpired:
            raise OperationError(f"no answer over SSH within {COMMAND_SECONDS} s. Fix: look at the node") from None
        except FileNotFoundError:
            raise OperationError("ssh is not on PATH. Fix: install the OpenSSH client") from None
        if done.returncode == _NO_CONNECTION:
            raise OperationError(f"not reachable over SSH: {last_line(done.stderr)}")
        return done


@contextmanager
def reachable(settings: Settings) -> Iterator[Hosts]:
    """The nodes with the key or the agent of the stack file, until the block ends. ``settings.edge`` must be given."""
    _edge(settings)
    with (
        tempfile.TemporaryDirectory(prefix="gx-agent-") as directory,
        _agent(settings, Path(directory) / "agent") as environment,
        configured(settings, environment) as hosts,
    ):
        yield hosts


@contextmanager
def configured(settings: Settings, environment: Mapping[str, str]) -> Iterator[Hosts]:
    """The nodes with the agent of an environment, until the block ends. ``settings.edge`` must be given."""
    edge = _edge(settings)
    with tempfile.TemporaryDirectory(prefix="gx-ssh-") as name:
        directory = Path(name)
        pinned = {**edge.ssh.host_keys, **({_JUMP: edge.ssh.jump.host_key} if edge.ssh.jump else {})}
        (directory / "known_hosts").write_text("".join(f"{name} {key}\n" for name, key in pinned.items()))
        config = directory / "config"
        addresses = {node: _address(settings, node) for node in edge.ssh.host_keys}
        config.write_text(
            render(
                _CONFIG,
                ssh=edge.ssh,
                jump_alias=_JUMP,
                addresses=addresses,
                known_hosts=directory / "known_hosts",
                seconds=CONNECT_SECONDS,
            )
        )
        yield Hosts(config, environment, "bash -s" if edge.ssh.user == "root" else "sudo -n bash -s")


def _edge(settings: Settings) -> Edge:
    if settings.edge is None:
        raise OperationError("gx-backend-infra:edge is missing. Fix: name a stack that has an edge")
    return settings.edge


def _address(settings: Settings, node: str) -> str:
    return str(settings.cluster.nodes[node].public_ip or settings.cluster.nodes[node].internal_ip)


@contextmanager
def _agent(settings: Settings, socket: Path) -> Iterator[Mapping[str, str]]:
    """The environment of ssh: with an agent that holds the stack file's key, or the operator's."""
    if settings.edge is not None and settings.edge.ssh.agent:
        if "SSH_AUTH_SOCK" not in os.environ:
            raise OperationError("edge.ssh.agent is true and there is no agent. Fix: eval $(ssh-agent) and ssh-add")
        yield os.environ
        return
    key = settings.secrets.ssh_private_key
    argv = ["ssh-agent", "-s", "-a", str(socket)]
    try:
        started = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise OperationError("ssh-agent is not on PATH. Fix: install the OpenSSH client") from None
    found = re.search(r"SSH_AGENT_PID=(\d+)", started.stdout)
    if found is None:
        raise OperationError(f"ssh-agent did not start: {last_line(started.stderr)}. Fix: give TMPDIR a short path")
    environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
    try:
        added = subprocess.run(
            ["ssh-add", "-q", "-"],
            # `pulumi config set` takes the last newline away, and OpenSSH reads no key without it.
            input=f"{key.get_secret_value().rstrip()}\n" if key else "",
            capture_output=True,
            text=True,
            check=False,
            env={**environment, "SSH_ASKPASS_REQUIRE": "never"},
            start_new_session=True,
        )
        if added.returncode:
            raise OperationError(
                "secrets.sshPrivateKey: not a key that ssh-add takes without a password. Fix: store an unencrypted one"
            )
        yield environment
    finally:
        os.kill(int(found[1]), signal.SIGTERM)
