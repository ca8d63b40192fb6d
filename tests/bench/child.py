"""Runs one program under mocks in a fresh interpreter and prints what that cost.

``child.py PROGRAM STACK`` with the stack's config as JSON on standard input. Imports nothing but ``pulumi``, so that
all the rest is the program's own.
"""

import asyncio
import json
import resource
import runpy
import sys
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime import mocks, set_all_config
from pulumi.runtime.settings import SETTINGS, configure
from pulumi.runtime.stack import run_in_stack


class _Echo(mocks.Mocks):
    """Every resource answers with its inputs."""

    def __init__(self) -> None:
        self.resources = 0

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"unknown provider function {args.token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.resources += 1
        return f"{args.name}-id", dict(args.inputs)


class _Hooks:
    """In the place of the server at which an engine would call the program's hooks: there is no engine."""

    def register_resource_hook(self, hook: object) -> None:
        """Nothing calls it."""


def main() -> None:
    program, stack = Path(sys.argv[1]).resolve(), sys.argv[2]
    config: dict[str, str] = json.load(sys.stdin)
    sys.path.insert(0, str(program.parent))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    echo = _Echo()
    monitor = mocks.MockMonitor(echo)
    # `set_mocks` would make a root stack, and so does `run_in_stack`, as in a real run.
    features = set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures)  # type: ignore[no-untyped-call]
    configure(
        mocks.MockSettings(  # type: ignore[no-untyped-call]
            monitor=monitor,
            monitor_features=features,
            engine=mocks.MockEngine(None),
            project="gx-backend-infra",
            stack=stack,
            dry_run=False,
        )
    )
    SETTINGS.callbacks = _Hooks()
    set_all_config(config, ["gx-backend-infra:secrets"])
    loop.run_until_complete(run_in_stack(lambda: _execute(program)))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "cpu": usage.ru_utime + usage.ru_stime,
        "resources": echo.resources,
        "imported": sorted({name.split(".")[0] for name in sys.modules if name.startswith("pulumi_")}),
    }
    print(json.dumps(report))


def _execute(program: Path) -> None:
    runpy.run_path(str(program), run_name="__main__")


if __name__ == "__main__":
    main()
