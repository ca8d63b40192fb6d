"""Remote commands and file copies, against a real OpenSSH server on the sandbox's internet."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox import layout as where
from tests.conformance.program import Program, source

_REMOTE = "https://github.com/pulumi/pulumi-command/blob/v1.2.1/provider/pkg/provider/remote"
_HEAD = """
import pulumi
from pulumi_command import remote
c = dict(CONNECTION)
c["private_key"] = pulumi.Output.secret(open(KEY).read())
"""


@dataclass(frozen=True)
class Server:
    """A running sshd, its keys, and a directory the commands may write to."""

    port: int
    host_key: str
    key: Path
    work: Path

    def connection(self, **changed: object) -> dict[str, object]:
        """The connection's arguments, but for the private key."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "host_key": self.host_key,
            "dial_error_limit": 2,
            "per_dial_timeout": 3,
            **changed,
        }

    def logins(self) -> int:
        """How often somebody has authenticated so far."""
        return (self.work.parent / "sshd.log").read_text().count("Accepted publickey")


@pytest.fixture(scope="module")
def server(plugins: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An sshd of our own in the sandbox's internet namespace, where the engine runs."""
    home = tmp_path_factory.mktemp("sshd")
    (home / "work").mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True)
    shutil.copy(home / "user.pub", home / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": home / "host",
        "AuthorizedKeysFile": home / "authorized_keys",
        "PidFile": home / "sshd.pid",
        "StrictModes": "no",
        "UsePAM": "no",
        "AcceptEnv": "LANG LC_*",
        "Subsystem": "sftp internal-sftp",
    }
    (home / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    Path("/run/sshd").mkdir(exist_ok=True)
    enter = where.nsenter_argv(where.current().netns(where.INTERNET))
    with (home / "sshd.log").open("w") as log:
        process = subprocess.Popen([*enter, "/usr/sbin/sshd", "-D", "-e", "-f", str(home / "sshd_config")], stderr=log)
        scan = [*enter, "ssh-keyscan", "-T", "5", "-p", str(port), "127.0.0.1"]
        while not subprocess.run(scan, capture_output=True, check=False).stdout:
            assert process.poll() is None, (home / "sshd.log").read_text()
        host_key = " ".join((home / "host.pub").read_text().split()[:2])
        yield Server(port, host_key, home / "user", home / "work")
        process.terminate()
        process.wait(10)


def write(program: Program, server: Server, body: str, **changed: object) -> None:
    """Make ``body`` the program; ``c`` is the connection."""
    head = _HEAD.replace("CONNECTION", repr(server.connection(**changed))).replace("KEY", repr(str(server.key)))
    program.write_plain(head + body)


@source(f"{_REMOTE}/commandController.go (Create; preview runs nothing)")
def test_a_command_runs_once_and_keeps_its_output(program: Program, server: Server) -> None:
    marker = server.work / "ran"
    body = f"""
done = remote.Command("done", connection=c, create="cat >> {marker}; echo out; echo err >&2", stdin="line\\n")
pulumi.export("printed", done.stdout)
"""
    write(program, server, body)
    assert program.planned()["create Command"] == 1
    assert not marker.exists()
    program.up().succeeded()
    assert marker.read_text() == "line\n"
    outputs = program.resource("done")["outputs"]
    assert (outputs["stdout"], outputs["stderr"]) == ("out", "err")
    before = server.logins()
    assert program.planned() == {}
    program.up().succeeded()
    assert server.logins() == before


@source(f"{_REMOTE}/commandController.go (Update runs update, else create again)")
def test_a_changed_input_runs_update_in_place(program: Program, server: Server) -> None:
    marker = server.work / "steps"
    body = f"""
remote.Command("step", connection=c, create="echo create >> {marker}", update="echo update-NUMBER >> {marker}")
"""
    write(program, server, body.replace("NUMBER", "1"))
    program.up().succeeded()
    write(program, server, body.replace("NUMBER", "2"))
    assert program.planned() == {"update Command": 1}
    program.up().succeeded()
    assert marker.read_text().split() == ["create", "update-2"]


@source("https://github.com/pulumi/pulumi-command/issues/189 (a trigger replaces; the new one is created first)")
def test_a_trigger_replaces_and_deletes_the_old_one_last(program: Program, server: Server) -> None:
    marker = server.work / "order"
    body = f"""
remote.Command("t", connection=c, triggers=["VALUE"],
               create="echo create >> {marker}", delete="echo delete >> {marker}")
"""
    write(program, server, body.replace("VALUE", "1"))
    program.up().succeeded()
    write(program, server, body.replace("VALUE", "2"))
    program.up().succeeded()
    assert marker.read_text().split() == ["create", "create", "delete"]


@source(f"{_REMOTE}/commandController.go (Delete without a delete command returns at once)")
def test_removing_a_command_without_delete_makes_no_connection(program: Program, server: Server) -> None:
    write(program, server, 'remote.Command("gone", connection=c, create="true")\n')
    program.up().succeeded()
    before = server.logins()
    write(program, server, "")
    program.up().succeeded()
    assert server.logins() == before


@source(f"{_REMOTE}/commandOutputs.go (the error holds command and output) and commandController.go")
def test_a_failing_command_fails_with_its_output_and_runs_again_next_time(program: Program, server: Server) -> None:
    flag = server.work / "flag"
    write(program, server, f'remote.Command("f", connection=c, create="echo trouble >&2; test -e {flag}")\n')
    output = program.up().failed()
    assert "Process exited with status 1" in output
    assert "trouble" in output
    flag.touch()
    program.up().succeeded()


@source(f"{_REMOTE}/connection.go (FixedHostKey)")
def test_a_host_with_another_key_is_refused(program: Program, server: Server) -> None:
    other = " ".join((server.key.with_suffix(".pub")).read_text().split()[:2])
    write(program, server, 'remote.Command("x", connection=c, create="true")\n', host_key=other)
    output = program.up().failed()
    assert "host key mismatch" in output
    assert "failed attempts" in output


@source(f"{_REMOTE}/connection.go (dialErrorLimit, perDialTimeout)")
def test_a_host_that_does_not_answer_fails_after_the_given_attempts(program: Program, server: Server) -> None:
    write(program, server, 'remote.Command("x", connection=c, create="true")\n', port=1, dial_error_limit=1)
    assert "failed attempts" in program.up().failed()


@source(f"{_REMOTE}/commandOutputs.go (Setenv: an error for environment)")
def test_a_variable_the_server_does_not_accept_is_an_error(program: Program, server: Server) -> None:
    body = 'remote.Command("e", connection=c, create="printf %s \\"$NAME\\"", environment={"NAME": "value"})\n'
    write(program, server, body.replace("NAME", "SECRET_NAME"))
    assert "SECRET_NAME" in program.up().failed()
    write(program, server, body.replace("NAME", "LC_NAME"))
    program.up().succeeded()
    assert program.resource("e")["outputs"]["stdout"] == "value"


@source("https://www.pulumi.com/registry/packages/command/api-docs/remote/command/ (logging)")
def test_logging_none_keeps_output_off_the_screen(program: Program, server: Server) -> None:
    body = 'remote.Command("l", connection=c, create="echo SPOKEN", LOGGING)\n'
    write(program, server, body.replace("SPOKEN", "heard").replace("LOGGING", ""))
    assert "heard" in program.up().succeeded()
    write(program, server, body.replace("SPOKEN", "quiet").replace("LOGGING", "logging=remote.Logging.NONE"))
    assert "\n    quiet" not in program.up().succeeded()


@source(f"{_REMOTE}/command.go (connection is secret) and the engine's encryption of secrets")
def test_secrets_in_connection_and_standard_input_are_not_in_the_state(program: Program, server: Server) -> None:
    body = """
remote.Command("s", connection=c, create="cat > /dev/null", stdin=pulumi.Output.secret("hunter2-correct-horse"))
"""
    write(program, server, body)
    printed = program.up("--diff").succeeded()
    state = program.state()
    secret_line = server.key.read_text().splitlines()[2]
    for text in (printed, state):
        assert "hunter2-correct-horse" not in text
        assert secret_line not in text
    assert "4dabf18193072939515e22adb298388d" in json.dumps(program.resource("s")["inputs"]["connection"])


@source(f"{_REMOTE}/copyController.go (text asset; parents are created; an update copies when the content changed)")
def test_a_text_is_copied_and_copied_again_when_it_changed(program: Program, server: Server) -> None:
    target = server.work / "deep" / "er" / "file"
    body = f'remote.CopyToRemote("copy", connection=c, source=pulumi.StringAsset("TEXT"), remote_path="{target}")\n'
    write(program, server, body.replace("TEXT", "one"))
    program.up().succeeded()
    assert target.read_text() == "one"
    assert program.planned() == {}
    write(program, server, body.replace("TEXT", "two"))
    assert program.planned() == {"update CopyToRemote": 1}
    program.up().succeeded()
    assert target.read_text() == "two"


@source("pulumi-command issues 20 and 432, and the real plugin, 1.2.1-136-g010bd8e0: without Read, the state is kept")
def test_a_refresh_makes_no_connection(program: Program, server: Server) -> None:
    write(program, server, 'remote.Command("r", connection=c, create="true")\n')
    program.up().succeeded()
    before = server.logins()
    program.refresh().succeeded()
    assert server.logins() == before
    assert program.planned() == {}


@source(f"{_REMOTE}/connection.go (Dial through proxy)")
def test_a_host_is_reached_through_a_jump_host(program: Program, server: Server) -> None:
    body = """
through = {**c, "proxy": dict(c)}
remote.Command("j", connection=through, create="echo reached")
"""
    write(program, server, body)
    program.up().succeeded()
    assert program.resource("j")["outputs"]["stdout"] == "reached"
