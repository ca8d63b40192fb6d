"""The drill of the DNS failover: what it asks of Pulumi, in which order, and that the stack file comes back in force.

`pulumi` and `curl` are stand-ins; tests/engine/test_failover.py runs it with the real engine.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from operations import dns_drill
from settings.stackfile import ROOT
from tests import stacks

ORIGIN = "srv1089624"
# Knows what is in force and prints steps as the real one does. BROKEN makes an `up` fail, EXTRA changes a preview.
PULUMI = """#!{python}
import json, os, signal, sys, time
from pathlib import Path
argv, home = sys.argv[1:], Path(os.environ["DESK"])
given = argv[argv.index("--config-file") + 1]
out = f"{origin}: disabled" in Path(given).read_text()
with open(home / "calls", "a") as calls:
    print(argv[0], "out" if out else "in", file=calls)
state = home / "out"
urn = "urn:pulumi:mainnet::gx-backend-infra::gx:dns:DnsFailover${type}::dns-"
if argv[0] == "config":
    print((home / "config.json").read_text())
elif argv[0] == "preview":
    steps = [{{"op": "same", "urn": urn + "srv1089618", "newState": {{"custom": True}}}}]
    if out != state.exists():
        op = "delete" if out else "create"
        steps.append({{"op": op, "urn": urn + "{origin}", "oldState" if out else "newState": {{"custom": True}}}})
    if os.environ.get("EXTRA") == argv[0] + (" out" if out else " in"):
        steps.append({{"op": "update", "urn": urn.replace("dnsRecord", "zone") + "x", "newState": {{"custom": True}}}})
    print(json.dumps({{"steps": steps}}))
elif argv[0] == "up":
    if (home / "lock").exists():
        sys.exit("the stack is currently locked")
    if os.environ.get("BROKEN") == "up out" and out:
        sys.exit("cloudflare: 503")
    if os.environ.get("BROKEN") == "interrupted" and out:
        (home / "lock").touch()
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(1)
        (home / "lock").unlink()
    state.touch() if out else state.unlink(missing_ok=True)
"""
CURL = """#!/bin/sh
if [ -e "$DESK/out" ] && [ -n "${DOWN:-}" ]; then printf 522; else printf 200; fi
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pulumi = PULUMI.format(python=sys.executable, origin=ORIGIN, type="cloudflare:index/dnsRecord:DnsRecord")
    for name, text in (("pulumi", pulumi), ("curl", CURL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    config = {key: {"value": value} for key, value in stacks.pulumi_config("mainnet").items()}
    for entry in config.values():
        entry["objectValue"] = json.loads(entry["value"]) if entry["value"][:1] in "{[" else entry["value"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "Pulumi.mainnet.yaml").write_text((ROOT / "Pulumi.mainnet.yaml").read_text())
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DESK", str(tmp_path))
    monkeypatch.setattr(dns_drill, "PATIENCE_SECONDS", 0.2)
    return tmp_path


def drill(desk: Path, monkeypatch: pytest.MonkeyPatch, *argv: str, origin: str = ORIGIN) -> int:
    file = str(desk / "Pulumi.mainnet.yaml")
    monkeypatch.setattr("sys.argv", ["dns_drill", "mainnet", origin, "--config-file", file, *argv])
    return dns_drill.main()


def calls(desk: Path) -> list[str]:
    return [line for line in (desk / "calls").read_text().splitlines() if not line.startswith("config")]


def test_by_default_it_looks_and_changes_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drill(desk, monkeypatch) == 0
    assert calls(desk) == ["preview in", "preview out"]


def test_it_fails_over_and_back_and_says_how_long_each_step_took(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (desk / "Pulumi.mainnet.yaml").read_text()
    assert drill(desk, monkeypatch, "--execute") == 0
    assert calls(desk) == ["preview in", "preview out", "up out", "preview in", "up in", "preview in"]
    assert (desk / "Pulumi.mainnet.yaml").read_text() == before
    printed = capsys.readouterr().out
    assert printed.count(" s\n") == 9
    assert printed.endswith(f"rehearsed: {ORIGIN} was out of DNS and is back\n")


@pytest.mark.parametrize(
    ("preview", "said"),
    [("preview in", "something to do already"), ("preview out", "not only the delete of the record")],
)
def test_it_does_not_begin_with_anything_else_to_do(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], preview: str, said: str
) -> None:
    monkeypatch.setenv("EXTRA", preview)
    assert drill(desk, monkeypatch, "--execute") == 1
    assert said in capsys.readouterr().err
    assert calls(desk)[-1] == preview


@pytest.mark.parametrize(("variable", "value"), [("DOWN", "yes"), ("BROKEN", "up out")])
def test_whatever_goes_wrong_the_stack_file_is_in_force_again(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert drill(desk, monkeypatch, "--execute") == 1
    assert calls(desk)[2:] == ["up out", "up in"]
    assert not (desk / "out").exists()
    assert capsys.readouterr().err.startswith("dns drill: ")


def test_an_interrupted_failover_ends_before_the_stack_file_is_in_force_again(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "interrupted")
    with pytest.raises(KeyboardInterrupt):
        drill(desk, monkeypatch, "--execute")
    assert calls(desk)[2:] == ["up out", "up in"]
    assert not (desk / "out").exists()


def test_without_curl_the_remedy_is_told_before_anything_is_done(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "curl").unlink()
    monkeypatch.setenv("PATH", str(desk))
    assert drill(desk, monkeypatch, "--execute") == 1
    assert "curl is not on PATH. Fix: " in capsys.readouterr().err


def test_an_origin_that_is_not_there_and_an_emergency_are_refused(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drill(desk, monkeypatch, origin="srv0") == 1
    assert "dns.origins has no srv0" in capsys.readouterr().err
    config = json.loads((desk / "config.json").read_text())
    config["gx-backend-infra:dns"]["objectValue"]["origins"]["srv1092158"] = "disabled"
    (desk / "config.json").write_text(json.dumps(config))
    assert drill(desk, monkeypatch) == 1
    assert "dns.origins.srv1092158 is disabled" in capsys.readouterr().err
