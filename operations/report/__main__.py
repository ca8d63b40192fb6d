"""``python -m operations.report STACK --base REF``: what a change does to a stack, as a reviewer reads it.

Needs no access: what both versions declare is compared, each by its own code, with stand-ins for secrets. With
``--preview``, the changes are those of the engine's preview instead.

Exit codes: 0 when the check passes; 1 when a proof or an acceptance that is over fails it, or the stack file or the
program cannot be used; 2 when the command itself cannot be carried out.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from operations.report.changes import of_preview
from operations.report.compose import Report, Source, compose
from operations.report.markdown import render
from operations.report.versions import VersionError, both

FAILED, IMPOSSIBLE = 1, 2


def main() -> int:
    """Print the report; the exit code is that of the module's description."""
    parser = argparse.ArgumentParser(prog="python -m operations.report", description="The report on a changed stack.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    parser.add_argument("--base", default="origin/main", help="what to compare with: a git revision or a stack file")
    parser.add_argument("--preview", type=Path, help="output of `pulumi preview --json`, made with access")
    made = parser.add_mutually_exclusive_group()
    made.add_argument("--client-side", action="store_true", help="the preview was made with read access alone")
    made.add_argument("--sandbox", action="store_true", help="the preview was made in the sandbox")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    arguments = parser.parse_args()
    try:
        preview = of_preview(arguments.preview.read_text(encoding="utf-8")) if arguments.preview else None
        head, base = both(arguments.stack, arguments.base, datetime.now(UTC).date())
    except (VersionError, ValueError) as error:
        print(error, file=sys.stderr)
        return IMPOSSIBLE
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Fix: name a file that exists", file=sys.stderr)
        return IMPOSSIBLE
    source = Source.SANDBOX if arguments.sandbox else Source.CLIENT_SIDE if arguments.client_side else Source.PREVIEW
    report = compose(head, base, preview, source)
    print(as_json(report) if arguments.json else render(report), end="")
    return 0 if report.passes else FAILED


def as_json(report: Report) -> str:
    """The report as JSON."""
    return f"{json.dumps(TypeAdapter(Report).dump_python(report, mode='json'), indent=2, ensure_ascii=False)}\n"


if __name__ == "__main__":
    sys.exit(main())
