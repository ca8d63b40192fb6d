"""``python -m settings.check STACK``: the report on a stack file, without Pulumi and without its passphrase."""

import argparse
import sys
from pathlib import Path

from settings import stackfile
from settings.loader import SettingsError, load
from settings.standins import encrypted, leaves, opened


def main() -> int:
    """Print every problem of a stack file, or that there is none, and which secrets it holds."""
    parser = argparse.ArgumentParser(prog="python -m settings.check", description="Check a stack file without Pulumi.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    stack = parser.parse_args().stack
    path = stackfile.path(stack, Path.cwd())
    if not path.exists():
        print(f"{path.name} does not exist. Fix: name an existing stack, or start it as a copy of one", file=sys.stderr)
        return 1
    try:
        config = stackfile.config(stackfile.text_of(path))
    except stackfile.StackFileError as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        return 1
    for name, value in sorted(leaves(config.get("secrets", {}))):
        print(f"  {name}: {'present' if stackfile.is_secure(value) else 'in clear'}")
    try:
        load(opened(config), stack=stack, secret_keys=encrypted(config))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path.name} is complete and consistent.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
