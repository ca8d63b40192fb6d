"""The program stays near a bare one. The figures are `make bench`'s; here only what is far past a goal fails."""

from pathlib import Path

import pytest

from tests.bench import noop
from tests.pace import pace

FAR = 3


@pytest.fixture(scope="module")
def found(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> noop.NoOp:
    """The deployed mainnet stack beside a bare program of the same resources; both previews must show no change."""
    directory: Path = tmp_path_factory.mktemp("speed")
    return noop.measure(directory, runs=1)


def test_a_no_op_preview_takes_about_as_long_as_that_of_a_bare_program(found: noop.NoOp) -> None:
    for figure in (found.preview, found.preview_light):
        print(f"{figure.title}: {figure.figure}, goal {figure.wanted}; {figure.samples}")
        assert figure.ratio < FAR * noop.PREVIEW_GOAL


def test_settings_and_components_cost_little_cpu(found: noop.NoOp) -> None:
    for figure in (found.cpu, found.cpu_light):
        print(f"{figure.title}: {figure.figure}, goal {figure.wanted}")
        assert figure.median < FAR * noop.CPU_GOAL * pace()


def test_a_stack_without_dns_does_not_import_the_cloudflare_sdk(found: noop.NoOp) -> None:
    assert "pulumi_kubernetes" in found.without_dns
    assert "pulumi_cloudflare" not in found.without_dns


def test_the_bare_program_declares_every_resource_of_the_stack(found: noop.NoOp) -> None:
    assert found.declared > found.resources / 2
