"""`python -m sandbox.toolchain [packages] [--with <tool>]`: everything the sandbox needs on the machine, once per user.

Without arguments: check the machine, install Debian packages, build the programs and the images. With `packages`, the
packages alone.
"""

import argparse
import sys
import time

from sandbox import images, toolchain
from sandbox.processes import SandboxError
from sandbox.toolchain import packages, prerequisites
from sandbox.toolchain.modules import MODULES


def main() -> int:
    """Prepare the machine; 0 when everything is there."""
    optional = sorted(name for module in MODULES if module.optional for name in module.tools)
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.toolchain", description="Prepare this machine for the sandbox."
    )
    parser.add_argument(
        "what", nargs="?", choices=["all", "packages"], default="all", help="all, or Debian packages alone"
    )
    parser.add_argument(
        "--with",
        dest="extra",
        action="append",
        default=[],
        choices=optional,
        help="also build a program that is optional",
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        prerequisites.check()
        packages.install()
        if arguments.what == "all":
            toolchain.ensure([*toolchain.REQUIRED, *arguments.extra])
            images.ensure()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"toolchain: ready after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
