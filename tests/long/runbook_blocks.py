"""Whoever follows a runbook: its commands as they stand on the page, with the sandbox's kubectl and pulumi."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.engine.stack import BIN, ROOT
from tests.runbooks import blocks

SECONDS = 900
ENVIRONMENT = {"PATH": f"{BIN}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def follow(
    page: str,
    words: str,
    *,
    namespace: str,
    directory: Path = ROOT,
    instead: Mapping[str, str] | None = None,
    fails: bool = False,
) -> str:
    """Run the one block of a page that has these words, and return what it said.

    ``k`` is kubectl in the namespace, as the pages say. ``instead`` names what stands for an example of the page.
    """
    (block,) = [each for each in blocks() if each.page.name == page and words in each.script]
    script = block.script
    for example, real in (instead or {}).items():
        script = script.replace(example, real)
    done = subprocess.run(
        ["bash", "-euc", f'k() {{ kubectl -n {namespace} "$@"; }}\n{script}'],
        cwd=directory,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    said = f"{script}\n{done.stdout}{done.stderr}"
    assert (done.returncode != 0) == fails, said
    return said
