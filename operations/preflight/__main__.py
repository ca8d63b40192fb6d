"""``python -m operations.preflight STACK``: whether the live cluster and hosts are what the stack file takes them for.

Read-only, and never part of a preview or a failover.

Exit codes: 0 when nothing says stop; 1 when something does; 2 when the stack file or the cluster cannot be read.
"""

import argparse
import sys

from operations.preflight.judge import judge
from operations.preflight.live import observe
from operations.preflight.rows import Level, Row, counts
from operations.stack import UNREADABLE, OperationError, add_config_file, encrypted
from settings.loader import SettingsError

STOPPED = 1


def main() -> int:
    """Print a line for each thing that was looked at, the worst last."""
    parser = argparse.ArgumentParser(prog="make preflight", description="Look at the live systems before a deployment.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    add_config_file(parser)
    arguments = parser.parse_args()
    try:
        judged = encrypted(arguments.stack, arguments.config_file)
        rows = judge(judged.settings, observe(judged.settings, judged.missing))
    except (OperationError, SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return UNREADABLE
    print(report(rows), end="")
    return STOPPED if any(row.level is Level.STOP for row in rows) else 0


def report(rows: tuple[Row, ...]) -> str:
    """One line for each row, by how they end, and how many there are."""
    order = list(Level)
    lines = [f"{row}\n" for row in sorted(rows, key=lambda row: order.index(row.level))]
    return "".join((*lines, f"{counts(rows)}\n"))


if __name__ == "__main__":
    sys.exit(main())
