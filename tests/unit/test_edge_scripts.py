"""The scripts and units that run on the nodes."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_shellcheck_finds_nothing_in_the_scripts_of_the_nodes() -> None:
    scripts = sorted((ROOT / "components/edge/scripts").glob("*.sh"))
    assert len(scripts) > 5
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "-x", *scripts],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout == ""


def test_the_firewall_is_loaded_again_after_whatever_flushes_it() -> None:
    """Debian's nftables.service flushes every table at its start and reload, and is ordered like ours at boot."""
    text = (ROOT / "components/edge/units/gx-firewall.service").read_text()
    assert {"After=nftables.service", "PartOf=nftables.service", "ReloadPropagatedFrom=nftables.service"} <= set(
        text.splitlines()
    )
    start, again = (re.search(rf"^Exec{verb}=(.*)$", text, re.MULTILINE) for verb in ("Start", "Reload"))
    assert start
    assert again
    assert start[1] == again[1]


def test_a_mail_on_its_way_is_not_ended_with_the_monitors_run() -> None:
    """By default systemd ends what a oneshot has left, Exim's delivery in the background too (systemd.kill(5))."""
    unit = (ROOT / "components/edge/units/monitor.service.j2").read_text()
    assert "KillMode=process" in unit.splitlines()
