"""``python -m checks STACK``: every proof of a stack file, without Pulumi, without its passphrase and without access.

What the stack file keeps encrypted or does not have yet is stood in for, and counted; no proof depends on it.

Exit codes: 0 when nothing refuses the stack; 1 when a finding does, or with ``--strict`` (the PR check and the nightly
run) an acceptance is over; 2 when the stack file cannot be read or used.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from checks.summary import (
    Summary,
    failover_table,
    finding_groups,
    node_table,
    quota_table,
    reach_line,
    roll_out_table,
    summarise,
    verdict_counts,
)
from settings import stackfile
from settings.loader import SettingsError
from settings.standins import read

REFUSED, UNUSABLE = 1, 2


def main() -> int:
    """Print the report; the exit code is that of the module's description."""
    parser = argparse.ArgumentParser(prog="python -m checks", description="Prove a stack file before anything is done.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    parser.add_argument("--strict", action="store_true", help="fail on expired acceptances too")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    arguments = parser.parse_args()
    path = stackfile.path(arguments.stack, Path.cwd())
    try:
        judged = read(path)
    except (SettingsError, stackfile.StackFileError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except OSError as error:
        print(f"{path.name}: {error.strerror}. Fix: name an existing stack", file=sys.stderr)
        return UNUSABLE
    summary = summarise(judged.settings, datetime.now(UTC).date())
    if arguments.json:
        print(as_json(summary))
    else:
        print(report(arguments.stack, summary, judged.missing, strict=arguments.strict), end="")
    return REFUSED if summary.refuses(strict=arguments.strict) else 0


def as_json(summary: Summary) -> str:
    """The summary as JSON."""
    return json.dumps(TypeAdapter(Summary).dump_python(summary, mode="json"), indent=2, ensure_ascii=False)


def report(stack: str, summary: Summary, missing: tuple[str, ...], *, strict: bool) -> str:
    """The report for a terminal: the verdict, the findings, and what they rest on."""
    verdict = "refused" if summary.refuses(strict=strict) else "proven"
    parts = [f"Pulumi.{stack}.yaml: {verdict}, with {verdict_counts(summary)}.\n"]
    if missing:
        parts.append(
            f"{len(missing)} values are stood in for until `make configure STACK={stack}` has filled them in.\n"
        )
    for title, lines in finding_groups(summary):
        if lines:
            parts += [f"\n{title}\n", *(f"  {line.name}: {line.text}\n" for line in lines)]
    parts += [
        "\nQuota of the namespace\n",
        quota_table(summary.quota).text(),
        f"\nPlacement {summary.placement}\n",
        node_table(summary.nodes).text() if summary.nodes else "",
        "\nRoll-out\n",
        roll_out_table(summary.roll_outs).text(),
    ]
    if summary.hostname:
        parts += [f"\nFailover of {summary.hostname}\n", failover_table(summary.failover).text()]
    parts.append(f"\nReachability\n  {reach_line(summary)}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main())
