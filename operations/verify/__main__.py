"""``python -m operations.verify STACK``: the deployment checklist after an ``up``, read-only.

Exit codes: 0 when no item has failed; 1 when one has; 2 when the stack file or the cluster cannot be read.
"""

import argparse
import sys

from operations.preflight.rows import Level, Row, counts
from operations.stack import UNREADABLE, OperationError, add_config_file, encrypted
from operations.verify.judge import judge
from operations.verify.live import observe
from settings.loader import SettingsError

FAILED = 1


def main() -> int:
    """Print the table of the checklist."""
    parser = argparse.ArgumentParser(prog="make verify", description="The deployment checklist on the live stack.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    add_config_file(parser)
    arguments = parser.parse_args()
    try:
        settings = encrypted(arguments.stack, arguments.config_file).settings
        rows = judge(settings, observe(settings))
    except (OperationError, SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return UNREADABLE
    print(table(rows), end="")
    return FAILED if any(row.level is Level.STOP for row in rows) else 0


def table(rows: tuple[Row, ...]) -> str:
    """One line for each item in the order of the checklist, and how many ended in which way."""
    lines = [f"CHK-{number:02}  {row}\n" for number, row in enumerate(rows, start=1)]
    return "".join((*lines, f"{counts(rows)}\n"))


if __name__ == "__main__":
    sys.exit(main())
