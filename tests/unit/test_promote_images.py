"""Images go from testnet's stack file to mainnet's, and nothing else in it changes."""

import difflib
import subprocess
import sys
from pathlib import Path

import pytest

from operations.promote_images import PromotionError, plan
from settings import stackfile
from settings.loader import load
from settings.stackfile import ROOT, merge
from tests import stacks

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
REDIS = "docker.io/library/redis:7-alpine"

TESTNET = f"""\
config:
  gx-backend-infra:services: {{svc-tax: {{}}, svc-new: {{}}, svc-trial: {{}}}}
  gx-backend-infra:images:
    redis: {REDIS}@{NEW}
    workloads:
      svc-tax: ghcr.io/gx/svc-tax:2@{NEW}
      svc-new: ghcr.io/gx/svc-new:1@{NEW}
      svc-trial: ghcr.io/gx/svc-trial:1@{NEW}
"""
MAINNET = f"""\
# Mainnet.
config:
  gx-backend-infra:services: {{svc-tax: {{}}, svc-new: {{}}}}   # two
  gx-backend-infra:images:
    redis: "{REDIS}@{OLD}"   # the cache
    haproxy: docker.io/library/haproxy:2.6-alpine@{OLD}
    workloads:
      svc-tax: ghcr.io/gx/svc-tax:1@{OLD}  # taxes
  gx-backend-infra:dns: {{}}
encryptionsalt: v1:abc
"""


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_every_image_of_both_is_promoted_and_every_other_byte_stays() -> None:
    promotion = plan(TESTNET, MAINNET)
    assert [change.name for change in promotion.changes] == ["redis", "workloads.svc-tax", "workloads.svc-new"]
    assert promotion.staying == ("haproxy",)
    assert changed_lines(MAINNET, promotion.text) == [
        f'-     redis: "{REDIS}@{OLD}"   # the cache',
        f"+     redis: {REDIS}@{NEW}   # the cache",
        f"-       svc-tax: ghcr.io/gx/svc-tax:1@{OLD}  # taxes",
        f"+       svc-tax: ghcr.io/gx/svc-tax:2@{NEW}  # taxes",
        f"+       svc-new: ghcr.io/gx/svc-new:1@{NEW}",
    ]
    assert plan(TESTNET, promotion.text).changes == (), "a second promotion finds nothing to do"


def test_one_image_is_promoted_alone() -> None:
    promotion = plan(TESTNET, MAINNET, ("svc-tax",))
    assert [str(change) for change in promotion.changes] == [
        f"images.workloads.svc-tax\n  - ghcr.io/gx/svc-tax:1@{OLD}\n  + ghcr.io/gx/svc-tax:2@{NEW}"
    ]


def test_workloads_are_begun_where_mainnet_has_none() -> None:
    without = MAINNET.replace(f"    workloads:\n      svc-tax: ghcr.io/gx/svc-tax:1@{OLD}  # taxes\n", "")
    text = plan(TESTNET, without).text
    assert stackfile.config(text)["images"] == {
        "redis": f"{REDIS}@{NEW}",
        "haproxy": f"docker.io/library/haproxy:2.6-alpine@{OLD}",
        "workloads": {"svc-tax": f"ghcr.io/gx/svc-tax:2@{NEW}", "svc-new": f"ghcr.io/gx/svc-new:1@{NEW}"},
    }


@pytest.mark.parametrize(
    ("source", "target", "only", "line"),
    [
        (
            TESTNET.replace(f"{REDIS}@{NEW}", REDIS),
            MAINNET,
            (),
            f"images.redis: not pinned to a digest in the source. Got '{REDIS}'. Fix: run `make configure` there",
        ),
        (TESTNET, MAINNET, ("svc-tx",), "svc-tx: no image of both stacks. Fix: one of redis, svc-new, svc-tax"),
        (TESTNET, MAINNET, ("svc-trial",), "svc-trial: no image of both stacks. Fix: one of redis, svc-new, svc-tax"),
        (
            TESTNET,
            "config: {}",
            (),
            "gx-backend-infra:images: missing in the target. Fix: add it, with postgres and redis below it",
        ),
        (
            TESTNET,
            f"config:\n  gx-backend-infra:services: {{svc-tax: {{}}}}\n  gx-backend-infra:images: {{redis: {REDIS}}}\n",
            (),
            "gx-backend-infra:images: not one image a line. Fix: write each as `name: image` on its own line",
        ),
        (
            TESTNET,
            MAINNET.replace(f"workloads:\n      svc-tax: ghcr.io/gx/svc-tax:1@{OLD}  # taxes", "workloads: {}"),
            (),
            "gx-backend-infra:images.workloads: empty in the target. Fix: remove it; it is begun anew",
        ),
    ],
)
def test_what_cannot_be_promoted_is_told_in_one_line(
    source: str, target: str, only: tuple[str, ...], line: str
) -> None:
    with pytest.raises(PromotionError) as raised:
        plan(source, target, only)
    assert str(raised.value) == line


def test_the_committed_stack_files_take_a_promotion_and_mainnet_is_whole_after_it() -> None:
    """Testnet as an operator has configured it, into mainnet as it is committed."""
    images = stacks.overlay("testnet")["images"]
    source = stackfile.dump({"config": stackfile.prefixed(merge(stacks.committed("testnet"), {"images": images}))})
    target = stackfile.path("mainnet").read_text()
    promotion = plan(source, target)
    assert len(promotion.changes) == 6 + len(images["workloads"])  # type: ignore[index]
    whole = merge(stacks.complete("mainnet"), {"images": stackfile.config(promotion.text)["images"]})
    assert load(whole, stack="mainnet").images.workloads == images["workloads"]  # type: ignore[index]


def test_the_command_shows_first_and_writes_when_told_to(tmp_path: Path) -> None:
    for stack, text in (("testnet", TESTNET), ("mainnet", MAINNET)):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(text)

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "operations.promote_images", *argv],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    shown = run()
    assert (shown.returncode, shown.stdout.count("\n  + ")) == (0, 3)
    assert "Nothing was written." in shown.stdout
    assert (tmp_path / "Pulumi.mainnet.yaml").read_text() == MAINNET
    assert run("--write").returncode == 0
    assert (tmp_path / "Pulumi.mainnet.yaml").read_text() == plan(TESTNET, MAINNET).text
    assert "Nothing to promote." in run().stdout
    assert run("--from", "nowhere").stderr.startswith(str(tmp_path / "Pulumi.nowhere.yaml"))
    for broken, other in (("testnet", MAINNET), ("mainnet", TESTNET)):
        (tmp_path / f"Pulumi.{broken}.yaml").write_text("config:\n  a: [\n")
        told = run()
        assert told.returncode == 1
        assert told.stderr.startswith(f"Pulumi.{broken}.yaml: line 3, column 1: ")
        assert len(told.stderr.splitlines()) == 1
        (tmp_path / f"Pulumi.{broken}.yaml").write_text(other)
