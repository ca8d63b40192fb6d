"""The scripts that run on the nodes, as shellcheck sees them."""

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
