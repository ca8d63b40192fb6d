"""No-op preview against the bare program, and what import, settings and composition cost on top of it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.stacks import render
from settings.stackfile import PROJECT, ROOT
from tests.bench import bare
from tests.bench.engine import Engine, decrypted, deployed_state, run
from tests.bench.states import registered, settled
from tests.bench.timing import Amount, Comparison, interleaved, seconds

STACK = "mainnet"
PREVIEW_GOAL = 1.15
CPU_GOAL = 0.5


@dataclass(frozen=True, kw_only=True)
class Child:
    """What one run of a program under mocks cost: CPU seconds, resources, and which SDKs it imported."""

    cpu: float
    resources: int
    imported: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NoOp:
    """The measurement's figures."""

    resources: int
    declared: int
    preview: Comparison
    preview_light: Comparison
    cpu: Amount
    cpu_light: Amount
    without_dns: tuple[str, ...]


def under_mocks(program: Path, stack: str, config: Mapping[str, str]) -> Child:
    """Run a program under mocks in a process of its own."""
    child = Path(__file__).with_name("child.py")
    report = json.loads(run(sys.executable, "-P", child, program, stack, stdin=json.dumps(config)))
    return Child(
        cpu=report["cpu"],
        resources=report["resources"],
        imported=tuple(report["imported"]),
    )


def measure(directory: Path, runs: int) -> NoOp:
    """Copy the deployed stack's state and preview it by the program and by the bare ones. Changes nothing.

    A single run is a rough look and starts cold; more than one start warm.

    Where the checkout has moved on since the deployment, the copy is brought to what the program declares now.
    """
    engine = Engine(directory / "noop")
    config = render(STACK)
    engine.create(PROJECT, STACK)
    values = decrypted(engine, STACK, config)
    clear = settled(STACK, registered(STACK, values), deployed_state(STACK, "--show-secrets"))
    engine.load(PROJECT, STACK, clear)
    engine.create(bare.PROJECT, bare.STACK)
    engine.load(bare.PROJECT, bare.STACK, bare.flat_state(clear))
    flat = bare.write(directory / "bare", clear, ROOT / ".venv", light=False)
    light = bare.write(directory / "light", clear, ROOT / ".venv", light=True)

    def program() -> float:
        argv = ("preview", "--stack", STACK, "--config-file", config, "--expect-no-changes")
        return seconds(lambda: engine.pulumi(*argv))

    def flat_program(path: Path) -> float:
        return seconds(lambda: engine.pulumi("preview", "--stack", bare.STACK, "--expect-no-changes", cwd=path.parent))

    previews = (program, lambda: flat_program(flat), lambda: flat_program(light))
    if runs > 1:
        for warm_up in previews:
            warm_up()
    ours, floor, lighter = interleaved(runs, *previews)
    main = ROOT / "__main__.py"
    cpu, cpu_floor, cpu_lighter = interleaved(
        runs,
        lambda: under_mocks(main, STACK, values).cpu,
        lambda: under_mocks(flat, STACK, {}).cpu,
        lambda: under_mocks(light, STACK, {}).cpu,
    )
    no_dns = {key: value for key, value in values.items() if key.split(":")[1] not in {"dns", "edge"}}
    return NoOp(
        resources=len(clear["deployment"]["resources"]),
        declared=under_mocks(flat, STACK, {}).resources,
        preview=Comparison(title="No-op preview, against the bare program", ours=ours, floor=floor, goal=PREVIEW_GOAL),
        preview_light=Comparison(
            title="… against a bare program that does not import the Cloudflare SDK either",
            ours=ours,
            floor=lighter,
            goal=PREVIEW_GOAL,
        ),
        cpu=Amount(
            title="CPU of import, settings and composition on top of the bare program",
            values=_difference(cpu, cpu_floor),
            goal=CPU_GOAL,
        ),
        cpu_light=Amount(
            title="… on top of one that does not import the Cloudflare SDK either",
            values=_difference(cpu, cpu_lighter),
            goal=CPU_GOAL,
        ),
        without_dns=under_mocks(main, STACK, no_dns).imported,
    )


def _difference(ours: tuple[float, ...], floor: tuple[float, ...]) -> tuple[float, ...]:
    """Round by round, since the two of a round met the same machine."""
    return tuple(mine - other for mine, other in zip(ours, floor, strict=True))
