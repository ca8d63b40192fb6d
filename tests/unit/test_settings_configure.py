"""The first-run command: what it asks for, what it stores and how, and what it never shows."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from settings import certificates
from settings.discovery import fingerprint
from settings.loader import load
from settings.model import PostgresSecrets, RedisSecrets, TlsSecrets
from settings.stackfile import ROOT, config, dump, merge, prefixed
from settings.wanted import wanted
from tests import stacks

# Writes down each call and its standard input, as `pulumi config set` would receive them.
RECORDER = """#!/bin/sh
[ "$1 $2" != "config get" ] || exec cat stored
{ printf '%s\\t' "$*"; cat; printf '\\036'; } >>"$RECORD"
"""
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJjiaap4eX3mVgCGgb50xVdiz18RE2OA44HVu36D+uOt"
NOW = datetime.now(UTC)
KEYS = len(TlsSecrets.model_fields)
PASSWORDS = len(PostgresSecrets.model_fields) + len(RedisSecrets.model_fields)
TOKEN = "canary-cloudflare-token"  # noqa: S105 - made up
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-key\n-----END OPENSSH PRIVATE KEY-----\n"


class Project:
    """A project's directory with one stack file, and a pulumi that only takes notes."""

    def __init__(self, directory: Path, stack_file: str) -> None:
        self.directory = directory
        self.record = directory / "record"
        self.record.touch()
        (directory / "Pulumi.mainnet.yaml").write_text(stack_file)
        tools = directory / "tools"
        tools.mkdir()
        (tools / "pulumi").write_text(RECORDER)
        (tools / "pulumi").chmod(0o755)

    def configure(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.directory / 'tools'}:/usr/bin:/bin",
            "RECORD": str(self.record),
            "PYTHONPATH": str(ROOT),
            # Nothing answers here, so the zone cannot be looked up.
            "CLOUDFLARE_BASE_URL": "http://127.0.0.1:9",
        }
        command = [sys.executable, "-m", "settings.configure", "mainnet", *argv]
        return subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False, input=""
        )

    def stored(self) -> dict[str, tuple[str, str]]:
        """Command line and standard input of each call, by the config key it sets."""
        calls = [call.split("\t", 1) for call in self.record.read_text().split("\x1e") if call]
        return {line.split("gx-backend-infra:")[1].split()[0]: (line, stdin) for line, stdin in calls}

    def answers(self, values: dict[str, object]) -> str:
        path = self.directory / "answers.yaml"
        path.write_text(json.dumps(values))
        return str(path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, (ROOT / "Pulumi.mainnet.yaml").read_text())


@pytest.mark.parametrize("stack", ["mainnet", "testnet", "devnet"])
def test_what_is_asked_for_completes_the_stack(stack: str) -> None:
    assert list(wanted(stacks.complete(stack), NOW)) == []
    asked = [want.path for want in wanted(stacks.committed(stack), NOW)]
    assert len(asked) == len(set(asked))
    assert {path.split(".")[0] for path in asked} >= {"cluster", "secrets", "images"}


def test_the_token_is_asked_for_before_the_zone_it_looks_up() -> None:
    asked = [want.path for want in wanted(stacks.committed("mainnet"), NOW)]
    assert asked.index("secrets.cloudflareApiToken") < asked.index("dns.zoneId")


def test_nothing_is_asked_about_exposure_without_an_edge() -> None:
    asked = [want.path for want in wanted(stacks.committed("testnet"), NOW)]
    assert not [path for path in asked if "ssh" in path or "cloudflare" in path or path.startswith(("edge", "dns"))]


def test_a_dry_run_stores_nothing(project: Project) -> None:
    done = project.configure("--dry-run")
    assert "would set secrets.postgres.admin = (secret)    from: generated" in done.stdout
    assert "still missing edge.ssh.user: Account that may become root on the edge nodes" in done.stdout
    assert project.stored() == {}


def test_answers_are_stored_and_passwords_made_up(project: Project) -> None:
    (project.directory / "key").write_text(PRIVATE_KEY)
    answers = merge(
        stacks.overlay("mainnet"),
        {
            "edge": {"ssh": {"hostKeys": {"srv1089618": HOST_KEY}}},
            "secrets": {"postgres": None, "redis": None, "cloudflareApiToken": TOKEN, "sshPrivateKey": "key"},
        },
    )
    done = project.configure("--answers", project.answers(answers))
    assert done.returncode == 0, done.stdout + done.stderr
    stored = project.stored()
    assert stored["dns.zoneId"][1] == "0123456789abcdef0123456789abcdef"
    assert stored["edge.ssh.hostKeys.srv1089618"][1] == HOST_KEY
    assert stored["secrets.sshPrivateKey"][1] == PRIVATE_KEY
    passwords = {stdin for key, (_, stdin) in stored.items() if key.startswith(("secrets.postgres", "secrets.redis"))}
    assert len(passwords) == PASSWORDS
    assert all(len(password) >= 32 for password in passwords)


def test_secrets_are_stored_encrypted_and_stand_on_no_command_line_and_no_screen(project: Project) -> None:
    done = project.configure("--answers", project.answers({"secrets": {"cloudflareApiToken": TOKEN}}))
    secret = {key: call for key, call in project.stored().items() if key.startswith("secrets.")}
    assert len(secret) == PASSWORDS + KEYS + 1
    for line, stdin in secret.values():
        assert "--secret" in line.split()
        assert stdin
        assert stdin not in line + done.stdout + done.stderr


def test_what_the_stack_file_has_is_left_alone(project: Project) -> None:
    text = (project.directory / "Pulumi.mainnet.yaml").read_text()
    whole = {"config": prefixed(merge(config(text), stacks.overlay("mainnet")))}
    (project.directory / "Pulumi.mainnet.yaml").write_text(dump(whole))
    done = project.configure("--answers", project.answers({"edge": {"ssh": {"user": "other"}}}))
    assert done.stdout == "Pulumi.mainnet.yaml misses nothing.\n"
    assert project.stored() == {}


def complete(project: Project, patch: dict[str, object]) -> dict[str, object]:
    """Give the project a whole stack file, changed by a patch, whose authority's key can be had."""
    whole = merge(merge(stacks.committed("mainnet"), stacks.overlay("mainnet")), patch)
    (project.directory / "Pulumi.mainnet.yaml").write_text(dump({"config": prefixed(whole)}))
    (project.directory / "stored").write_text(stacks.authority().key)
    return whole


def test_a_removed_certificate_is_issued_anew_by_the_same_authority_and_nothing_else_changes(project: Project) -> None:
    complete(project, {"tls": {"redis": None}})
    done = project.configure("--answers", project.answers({}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set tls.redis = (certificate, until " in done.stdout
    stored = project.stored()
    # Cut short after the key, the next run makes both anew.
    assert list(stored) == ["secrets.tls.redisKey", "tls.redis"]
    (_, key), (_, certificate) = stored.values()
    assert certificates.is_signed(certificate, stacks.authority().certificate)
    assert certificates.belongs(key, certificate)


def test_a_removed_key_of_the_authority_is_replaced_while_the_old_authority_stays_trusted(project: Project) -> None:
    complete(project, {"secrets": {"tls": {"authorityKey": None}}})
    assert project.configure("--answers", project.answers({})).returncode == 0
    stored = project.stored()
    old, new = certificates.loaded(stored["tls.authority"][1])
    assert old == certificates.loaded(stacks.authority().certificate)[0]
    assert new.public_key() != old.public_key()


@pytest.mark.parametrize(
    "removed", [{"secrets": {"tls": {"authorityKey": None}}}, {"secrets": {"tls": {"redisKey": None}}}]
)
def test_a_run_that_is_cut_short_between_a_key_and_its_certificate_is_run_again(
    project: Project, removed: dict[str, object]
) -> None:
    whole = complete(project, removed)
    tool = project.directory / "tools" / "pulumi"
    tool.write_text(RECORDER.replace("{ printf", '[ ! -s "$RECORD" ] || exit 1\n{ printf'))
    assert project.configure("--answers", project.answers({})).returncode == 1
    ((path, (_, value)),) = project.stored().items()
    patch: dict[str, object] = {path.rsplit(".", 1)[-1]: {"secure": "v1:abc"} if path.startswith("secrets.") else value}
    for section in reversed(path.split(".")[:-1]):
        patch = {section: patch}
    (project.directory / "Pulumi.mainnet.yaml").write_text(dump({"config": prefixed(merge(whole, patch))}))
    tool.write_text(RECORDER)
    project.record.write_text("")
    assert project.configure("--answers", project.answers({})).returncode == 0
    stored = project.stored()
    ((_, key),) = [each for name, each in stored.items() if name.startswith("secrets.tls.")]
    ((_, certificate),) = [each for name, each in stored.items() if name.startswith("tls.")]
    assert certificates.belongs(key, certificate)


def test_a_first_run_issues_certificates_that_the_settings_accept(project: Project) -> None:
    whole = complete(project, {"tls": None, "secrets": {"tls": None}})
    assert project.configure("--answers", project.answers({})).returncode == 0
    tls: dict[str, str] = {}
    keys: dict[str, str] = {}
    for path, (_, value) in project.stored().items():
        (keys if path.startswith("secrets.") else tls)[path.split(".")[-1]] = value
    assert load(merge(whole, {"tls": tls, "secrets": {"tls": keys}}), stack="mainnet").tls.redis == tls["redis"]


def test_a_wrong_answer_is_told_in_one_line(project: Project) -> None:
    done = project.configure("--answers", project.answers({"edge": {"acme": {"email": "ops"}}}))
    assert done.returncode == 1
    assert done.stderr == "edge.acme.email: not an e-mail address. Fix: write it as ops@example.org\n"


def test_answers_that_cannot_be_read_are_told_in_one_line(project: Project) -> None:
    broken = project.directory / "broken.yaml"
    broken.write_text("edge: [")
    done = project.configure("--answers", str(broken))
    assert done.stderr.startswith(f"{broken}: line 1, column 8: ")
    (project.directory / "key").write_bytes(b"\xff\xfe")
    key: dict[str, object] = {"secrets": {"sshPrivateKey": str(project.directory / "key")}}
    told = project.configure("--answers", project.answers(key))
    assert told.stderr == "secrets.sshPrivateKey: no text. Got '{}'. Fix: name the private key's file\n".format(
        project.directory / "key"
    )
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_stack_is_told_in_one_line(project: Project) -> None:
    (project.directory / "Pulumi.mainnet.yaml").unlink()
    done = project.configure()
    assert done.stderr.startswith("Pulumi.mainnet.yaml does not exist. Fix: ")
    assert "Traceback" not in done.stderr


def test_a_fingerprint_is_what_ssh_keygen_shows() -> None:
    assert fingerprint(HOST_KEY) == "SHA256:z8C84h01QjowSFAQ+0jtVTlinDgSaEZhVU91mCdurAg"
