"""Runs one Pulumi program to its end in this interpreter; started by the language host, once per run.

Imports only the standard library and ``pulumi``, because it runs with the program's own interpreter and packages. An
error the program raises on purpose (:class:`pulumi.RunError`, ``sys.exit("text")``) is shown without a traceback.
Exit statuses are those of the real runner:
https://github.com/pulumi/pulumi/blob/master/sdk/python/cmd/pulumi-language-python-exec
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
from pulumi import runtime

EXIT_MESSAGE_SHOWN = 32


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("monitor", "engine", "project", "stack", "organization", "root-directory"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs="*")
    return parser.parse_args()


def _user_traceback(error: BaseException, program: Path) -> str:
    """The traceback from the program's first own frame on; all of it when the program has none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((index for index, frame in enumerate(frames) if program in Path(frame.filename).parents), 0)
    lines = traceback.format_list(frames[own:]) + traceback.format_exception_only(error)
    return "Traceback (most recent call last):\n" + "".join(lines)


def _execute(program: Path) -> None:
    runpy.run_path(str(program), run_name="__main__")


def main() -> int:
    """Run the program; the exit status tells the language host whether the user has seen the error already."""
    arguments = _arguments()
    program = Path(arguments.program).resolve()
    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    runtime.configure(
        runtime.Settings(
            monitor=arguments.monitor,
            engine=arguments.engine,
            project=arguments.project,
            stack=arguments.stack,
            parallel=arguments.parallel,
            dry_run=arguments.dry_run,
            organization=arguments.organization,
            root_directory=arguments.root_directory,
        )
    )
    sys.argv = [str(program), *arguments.arguments]
    sys.path.insert(0, str(program if program.is_dir() else program.parent))
    # A failed program leaves futures nobody awaits; asyncio would report each of them to the user.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=max(arguments.parallel, 1) * 4)
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(runtime.run_in_stack(lambda: _execute(program)))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception as error:
        directory = program if program.is_dir() else program.parent
        pulumi.log.error("Program failed with an unhandled exception:\n" + _user_traceback(error, directory))
        return EXIT_MESSAGE_SHOWN
    finally:
        executor.shutdown(wait=True)
        loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
