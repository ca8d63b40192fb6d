"""``python -m operations.plan bind|apply STACK PLAN``: an update plan, bound to the state and program it was made from.

Pulumi's plan says what an update may do, and refuses anything else; but made from one state, it is carried out on any
other (https://github.com/mattrobinsonsre/terrapod/issues/1501). So the plan's digest, the commit and a digest of the
state stand beside it in ``PLAN.bound``, and ``apply`` refuses when one of them is another. Between that comparison and
the engine's lock on the state lie seconds, in which the plan's own refusal is what is left.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operations.stack import OperationError, run_pulumi

CIPHERTEXT = "ciphertext"


class PlanError(OperationError):
    """Why a plan is not made or not carried out, in one line with the remedy."""


def main() -> int:
    """Run the command; 1 with a line when the plan is not made or not carried out."""
    parser = argparse.ArgumentParser(
        prog="python -m operations.plan", description="Update plans that know their state."
    )
    parser.add_argument("command", choices=("bind", "apply"))
    parser.add_argument("stack")
    parser.add_argument("plan", type=Path)
    arguments = parser.parse_args()
    try:
        {"bind": bind, "apply": apply}[arguments.command](arguments.stack, arguments.plan)
    except OperationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def bind(stack: str, plan: Path) -> None:
    """Make a plan and what binds it; the preview is printed as JSON."""
    # The state first: what moves during the preview is noticed by `apply`.
    state = digest_of(_state(stack))
    preview = _pulumi(stack, "preview", "--json", "--save-plan", str(plan))
    bound = {"stack": stack, "commit": _commit(), "state": state, "plan": _digest(plan.read_bytes())}
    _beside(plan).write_text(f"{json.dumps(bound, indent=2)}\n", encoding="utf-8")
    print(preview, end="")


def apply(stack: str, plan: Path) -> None:
    """Carry a plan out. Raises ``PlanError`` before anything is done when it is not bound to what is there now."""
    remedy = f"Fix: python -m operations.plan bind {stack} {plan}"
    try:
        bound = json.loads(_beside(plan).read_text(encoding="utf-8"))
        now = {"stack": stack, "commit": _commit(), "plan": _digest(plan.read_bytes())}
    except (OSError, json.JSONDecodeError):
        raise PlanError(f"{plan}: no plan with a {_beside(plan).name} beside it. {remedy}") from None
    now["state"] = digest_of(_state(stack))
    for what, value in now.items():
        if bound.get(what) != value:
            raise PlanError(f"{plan}: made for another {what} than is there now; nothing was done. {remedy}")
    _pulumi(stack, "up", "--plan", str(plan), "--yes", "--skip-preview", shown=True)


def digest_of(state: Mapping[str, Any]) -> str:
    """A digest of an exported state. Every write moves it, also one that changes nothing: the state holds its time.

    Ciphertext is left out, because an export encrypts anew.
    """
    return _digest(json.dumps(_without_ciphertext(state), sort_keys=True).encode())


def _without_ciphertext(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _without_ciphertext(each) for key, each in value.items() if key != CIPHERTEXT}
    return [_without_ciphertext(each) for each in value] if isinstance(value, list) else value


def _state(stack: str) -> dict[str, Any]:
    exported: dict[str, Any] = json.loads(_pulumi(stack, "stack", "export"))
    return exported


def _pulumi(stack: str, *argv: str, shown: bool = False) -> str:
    interactive = () if argv[0] == "stack" else ("--non-interactive",)
    done = run_pulumi([*argv, "--stack", stack, *interactive], shown=shown)
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        print(done.stdout, end="", file=sys.stderr)
        raise PlanError(f"`pulumi {' '.join(argv[:2])}` failed; what it printed is above. Fix: what it says")
    return done.stdout


def _commit() -> str:
    """The commit of this tree, and what differs from it."""
    head, changes = (
        subprocess.run(["git", *argv], capture_output=True, text=True, check=True).stdout.strip()
        for argv in (("rev-parse", "HEAD"), ("diff", "HEAD"))
    )
    return f"{head} {_digest(changes.encode())}" if changes else head


def _beside(plan: Path) -> Path:
    return plan.with_name(f"{plan.name}.bound")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
