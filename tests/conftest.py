"""The sandbox as a fixture: started when a test needs it, stopped afterwards only if it was not running before."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The fast suite tries the same few examples every time; `--hypothesis-profile long` looks for new ones.
hypothesis.settings.register_profile("fast", derandomize=True, max_examples=50, deadline=None)
hypothesis.settings.register_profile("long", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("fast")

ROOT = Path(__file__).resolve().parents[1]


def _sandbox(*argv: str, check: bool = True) -> int:
    return subprocess.run([sys.executable, "-m", "sandbox", *argv], cwd=ROOT, check=check).returncode


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """The running platform: control plane, four nodes, the Cloudflare double, edge hosts."""
    if _sandbox("status", check=False) == 0:
        yield
        return
    _sandbox("up")
    yield
    # Beside others a worker does not know whether they are done; `sandbox run` then stops what it started.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _sandbox("down")


@pytest.fixture(scope="session")
def deployed(cluster: None) -> None:
    """Testnet and mainnet deployed on the running platform."""
    _sandbox("up", "--deploy", "testnet", "mainnet")
