"""What ``EdgeNode`` registers: the steps, how they reach the host, and what never happens."""

import shutil
import subprocess
from pathlib import Path

import pulumi
import pytest
from pydantic import SecretStr

from components.edge import EdgeNode, EdgeNodeArgs
from components.edge.steps import Step, settings_file
from settings.model import Challenge, Edge, JumpHost, Settings
from settings.types import seconds
from tests import capture
from tests.capture import Registered
from tests.stacks import settings

NODE = "srv1089624"


@pytest.fixture(scope="module")
def mainnet() -> Settings:
    return settings("mainnet")


def steps(
    values: Settings, *, key: str | None = "canary-ssh-key", secrets: dict[str, str] | None = None, **changes: object
) -> dict[str, Registered]:
    assert values.edge is not None
    edge: Edge = values.edge.model_copy(update=changes)

    def program() -> None:
        EdgeNode(
            NODE,
            EdgeNodeArgs(
                node=NODE,
                settings=edge,
                nodes=values.cluster.nodes,
                services=values.services,
                stack="mainnet",
                private_key=None if key is None else pulumi.Output.secret(key),
                secrets=values.secrets.model_copy(update={k: SecretStr(v) for k, v in (secrets or {}).items()}),
            ),
        )

    return {r.name: r for r in capture.run(program, stack="mainnet").of("Command")}


def test_a_node_is_four_steps_in_order(mainnet: Settings) -> None:
    found = steps(mainnet)
    assert set(found) == {f"{NODE}-{part}" for part in ("packages", "nginx", "certificate", "monitor")}
    urn = {name.removeprefix(f"{NODE}-"): registered.urn for name, registered in found.items()}
    assert found[f"{NODE}-nginx"].dependencies == (urn["packages"],)
    assert found[f"{NODE}-certificate"].dependencies == (urn["nginx"],)


def test_removing_a_node_or_changing_a_step_runs_nothing_but_the_same_command(mainnet: Settings) -> None:
    """A delete command would be dialled on a node that is dead; triggers would delete what was just written."""
    for step in steps(mainnet).values():
        assert step.inputs["create"] == "bash -s"
        assert not step.inputs.keys() & {"delete", "triggers", "update", "environment"}
        assert step.inputs["addPreviousOutputInEnv"] is False
        assert step.inputs["logging"] == "none"


def test_the_connection_is_secret_pinned_and_gives_up_soon(mainnet: Settings) -> None:
    for step in steps(mainnet).values():
        connection = step.inputs["connection"]
        assert "connection" in step.secrets
        assert (connection["host"], connection["user"]) == ("217.196.51.190", "root")
        assert connection["hostKey"].startswith("ssh-ed25519 ")
        assert connection["dialErrorLimit"] * connection["perDialTimeout"] <= 20
        assert "canary-ssh-key" not in step.inputs["stdin"]


def test_a_jump_host_is_pinned_takes_the_same_key_and_is_given_up_as_soon(mainnet: Settings) -> None:
    assert mainnet.edge is not None
    pinned = f"ssh-ed25519 {'B' * 68}"
    jump = JumpHost(host="bastion.example.org", port=2222, user="hop", host_key=pinned)
    ssh = mainnet.edge.ssh.model_copy(update={"jump": jump})
    for step in steps(mainnet, ssh=ssh).values():
        connection = step.inputs["connection"]
        proxy = connection["proxy"]
        assert (proxy["host"], proxy["port"], proxy["user"], proxy["hostKey"]) == (jump.host, 2222, "hop", pinned)
        for name in ("privateKey", "dialErrorLimit", "perDialTimeout"):
            assert proxy[name] == connection[name]
        assert "connection" in step.secrets


def test_with_the_agent_no_key_and_no_socket_is_in_the_state(mainnet: Settings) -> None:
    """A socket's path differs from one session to the next, and would run every step again."""
    for step in steps(mainnet, key=None).values():
        assert not step.inputs["connection"].keys() & {"privateKey", "agentSocketPath", "password"}


def test_the_token_of_dns_01_is_in_a_step_that_is_secret_as_a_whole_before_the_certificate(mainnet: Settings) -> None:
    assert mainnet.edge is not None
    acme = mainnet.edge.acme.model_copy(update={"challenge": Challenge.DNS})
    found = steps(mainnet, secrets={"acme_dns_token": "canary-acme-token"}, acme=acme)
    token = found[f"{NODE}-dns-token"]
    assert "dns_cloudflare_api_token = canary-acme-token\n" in token.inputs["stdin"]
    assert "stdin" in token.secrets
    assert token.urn in found[f"{NODE}-certificate"].dependencies
    for name, step in found.items():
        assert name == f"{NODE}-dns-token" or "canary-acme-token" not in step.inputs["stdin"]
    assert "python3-certbot-dns-cloudflare" in found[f"{NODE}-packages"].inputs["stdin"]
    assert "python3-certbot-dns-cloudflare" not in steps(mainnet)[f"{NODE}-packages"].inputs["stdin"]


def test_the_monitors_receivers_are_in_a_step_that_is_secret_as_a_whole(mainnet: Settings) -> None:
    assert f"{NODE}-alerts" not in steps(mainnet)
    found = steps(mainnet, secrets={"monitor_slack_url": "https://hooks.example/canary"})
    assert "SLACK_URL=https://hooks.example/canary\n" in found[f"{NODE}-alerts"].inputs["stdin"]
    assert "stdin" in found[f"{NODE}-alerts"].secrets
    assert found[f"{NODE}-alerts"].urn in found[f"{NODE}-monitor"].dependencies
    assert "hooks.example" not in found[f"{NODE}-monitor"].inputs["stdin"]


def test_a_user_who_is_not_root_runs_the_steps_by_sudo_without_a_password(mainnet: Settings) -> None:
    assert mainnet.edge is not None
    ssh = mainnet.edge.ssh.model_copy(update={"user": "deploy"})
    assert {step.inputs["create"] for step in steps(mainnet, ssh=ssh).values()} == {"sudo -n bash -s"}


def test_raising_a_nodes_number_changes_all_its_steps_by_one_line(mainnet: Settings) -> None:
    before, after = steps(mainnet), steps(mainnet, reprovision={NODE: 1})
    for name, step in after.items():
        old, new = (s.inputs["stdin"].splitlines() for s in (before[name], step))
        assert [line for line in new if line not in old] == [new[0]]


def test_a_changed_setting_changes_the_step_it_concerns_and_no_other(mainnet: Settings) -> None:
    before, after = steps(mainnet), steps(mainnet, admin_allow=("192.0.2.0/24",))
    changed = {name for name in after if after[name].inputs["stdin"] != before[name].inputs["stdin"]}
    assert changed == {f"{NODE}-nginx"}
    assert "allow 192.0.2.0/24;" in after[f"{NODE}-nginx"].inputs["stdin"]


def test_a_step_delivers_its_files_as_they_are(tmp_path: Path) -> None:
    tricky = "$HOME `id` \\n 'single' \"double\" %s \\\n\tü\n\n"
    probe = Step(title="Probe", script="packages.sh", files={"a/b.conf": tricky})
    program = probe.stdin(0).replace('bash "$files/packages.sh" "$files"', f'cp -r "$files" {tmp_path}/got')
    subprocess.run(["bash", "-s"], input=program, text=True, check=True)
    assert (tmp_path / "got/a/b.conf").read_text() == tricky


def test_a_step_that_arrives_in_part_runs_nothing(tmp_path: Path) -> None:
    """SSH that breaks half-way leaves the shell at the end of its input."""
    script = shutil.which("bash")
    assert script is not None
    whole = Step(title="Probe", script="packages.sh", files={"a.conf": "x\n"}).stdin(0)
    program = whole.replace("set -euo pipefail", f"touch {tmp_path}/ran", 1).removesuffix("main\n")
    for length in range(0, len(program), 97):
        subprocess.run([script, "-s"], input=program[:length], text=True, check=False, capture_output=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b"])
def test_a_file_outside_the_step_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="give a relative path"):
        Step(title="t", script="packages.sh", files={path: "x\n"}).stdin(0)


@pytest.mark.parametrize("content", ["no newline", "END-OF-GX-FILE\n", "\0\n"])
def test_a_file_that_cannot_travel_as_text_is_refused(content: str) -> None:
    with pytest.raises(ValueError, match=r"a\.conf"):
        Step(title="t", script="packages.sh", files={"a.conf": content}).stdin(0)


def test_settings_reach_the_script_whatever_they_contain() -> None:
    values = {"A": "$(id) 'x' \"y\"", "B": ""}
    shown = subprocess.run(
        ["bash", "-c", settings_file(values) + 'printf "%s|%s" "$A" "$B"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "$(id) 'x' \"y\"|"


@pytest.mark.parametrize(("text", "expected"), [("30s", 30), ("2m", 120), ("6h", 21600), ("1d", 86400)])
def test_durations_become_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected
