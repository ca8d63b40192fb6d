"""``make bench``: measure the program on the running sandbox and write ``docs/performance.md``.

Nothing that is deployed is changed. What a measure found is kept, so that one alone can be repeated by its name.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench import backup, edge, failover, growth, noop, report, rollout
from tests.bench.engine import LAYOUT, BenchError
from tests.bench.timing import load

MEASURES = ("noop", "rollout", "failover", "growth", "backup", "edge")


def main() -> int:
    """Run the measures named, all by default; 1 with a line on standard error when one could not be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; all by default")
    parser.add_argument("--runs", type=int, default=5, help="samples of each figure; 5 by default")
    arguments = parser.parse_args()
    unknown = set(arguments.measures) - set(MEASURES)
    if unknown:
        parser.error(f"no measure {', '.join(sorted(unknown))}; choose from {', '.join(MEASURES)}")
    LAYOUT.runtime.mkdir(exist_ok=True)
    results = LAYOUT.runtime / "bench"
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=LAYOUT.runtime))
    try:
        for measure in arguments.measures or MEASURES:
            print(f"measuring {measure}", flush=True)
            _measure(measure, scratch, results, arguments.runs)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch)
    report.write(results, MEASURES)
    print(f"written: {report.DOCUMENT.relative_to(LAYOUT.root)}")
    return 0


def _measure(measure: str, scratch: Path, results: Path, runs: int) -> None:
    before = load()
    if measure == "noop":
        found = noop.measure(scratch, runs)
        facts = {"resources": found.resources, "declared": found.declared, "without_dns": list(found.without_dns)}
        figures = (found.preview, found.preview_light, found.cpu, found.cpu_light)
        report.keep(results, measure, figures, before, {**facts, "runs": runs})
    elif measure == "rollout":
        # A round takes minutes where the others take seconds.
        rounds = max(1, runs // 2)
        made = rollout.measure(scratch, rounds)
        facts = {"objects": made.objects, "pods": made.pods, "runs": rounds}
        report.keep(results, measure, (made.up, made.up_ordered, made.change), before, facts)
    elif measure == "failover":
        report.keep(results, measure, failover.measure(scratch, runs), before, {"runs": runs})
    elif measure == "backup":
        # A round takes minutes.
        rounds = max(1, runs // 2)
        backed = backup.measure(scratch / "backup", rounds)
        facts = {"database": backed.database, "dump": backed.dump, "runs": rounds}
        report.keep(results, measure, backed.figures, before, facts)
    elif measure == "edge":
        report.keep(results, measure, edge.measure(scratch / "edge", runs), before, {"runs": runs})
    else:
        sizes = []
        for each in growth.measure(scratch):
            sizes.append(asdict(each))
            print(each, flush=True)
            # Hours may go by until the next: what there is stays.
            report.keep(results, measure, [], before, {"sizes": sizes, "patience": growth.PATIENCE_SECONDS})


if __name__ == "__main__":
    sys.exit(main())
