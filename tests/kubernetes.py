"""The sandbox's kubectl, as its user runs it."""

import json
import subprocess
from typing import Any

from settings.stackfile import ROOT

KUBECTL = ROOT / "sandbox" / "bin" / "kubectl"


def kubectl(*argv: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A finished command; an assertion with its errors when it failed, unless ``check`` is off."""
    done = subprocess.run([KUBECTL, *argv], input=stdin, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"kubectl {' '.join(argv[:3])}: {done.stderr[-2000:]}"
    return done


def items(*argv: str) -> list[dict[str, Any]]:
    """Objects a `kubectl get` finds."""
    found: list[dict[str, Any]] = json.loads(kubectl("get", *argv, "-o", "json").stdout)["items"]
    return found
