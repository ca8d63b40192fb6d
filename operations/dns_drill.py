"""``python -m operations.dns_drill STACK ORIGIN``: rehearse taking an origin out of DNS and bringing it back.

Looks first, and changes nothing: the stack must have nothing to do, every origin must be in DNS, the public name must
answer, and the failover must be exactly the one record (and its pool). With ``--execute`` it then does it, there and
back, and times each step. The stack file is not edited: the failover runs with a copy of it, and whatever happens after
its first request, an interruption included, the stack file as it stands is put in force again.

Exit status: 0 rehearsed, or ready to be; 1 refused or failed, with the reason in one line; 2 the stack cannot be read.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from operations.report.changes import Change, Operation, of_preview
from operations.stack import OperationError, Stack, decrypted, of_arguments
from operations.verify.answers import OK_STATUS
from operations.verify.live import status_of
from settings import stackfile
from settings.model import Dns, OriginState

ANSWERS = 20
"""Answers in a row that count as serving: with three origins, one that is broken is missed once in 3,000 drills."""
PATIENCE_SECONDS = 120
_RECORD, _POOL = "cloudflare:index/dnsRecord:DnsRecord", "cloudflare:index/loadBalancerPool:LoadBalancerPool"
_Result = TypeVar("_Result")


@dataclass
class Drill:
    """A rehearsal. ``seconds`` grows with every step that was made, in order."""

    stack: Stack
    origin: str
    hostname: str
    seconds: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Whether all is as it should be before. Raises ``OperationError`` with what is not."""
        pending = self._step("preview as it stands", lambda: _changes(self.stack))
        if pending:
            raise OperationError(f"the stack has something to do already: {_told(pending)}. Fix: pulumi up first")
        self._step("public name answers", self._served)
        with self._failed_over() as failed:
            planned = self._step("preview of the failover", lambda: _changes(failed))
        self._expect(planned, Operation.DELETE)

    def rehearse(self) -> None:
        """Fail over and back. What goes wrong is raised when the stack file is in force again."""
        with self._failed_over() as failed:
            try:
                self._step("failover: pulumi up", lambda: _up(failed))
                self._step("… until the public name answers", self._served)
                back = self._step("preview of the failback", lambda: _changes(self.stack))
                self._expect(back, Operation.CREATE)
            finally:
                self._step("failback: pulumi up", lambda: _up(self.stack))
        self._step("… until the public name answers", self._served)
        left = self._step("preview afterwards", lambda: _changes(self.stack))
        if left:
            raise OperationError(f"something is left to do after the failback: {_told(left)}. Fix: pulumi up")

    @contextlib.contextmanager
    def _failed_over(self) -> Iterator[Stack]:
        """The stack with a copy of its file in which the origin is disabled."""
        with tempfile.TemporaryDirectory(prefix="gx-drill-") as directory:
            # Pulumi takes the stack's name from nowhere else than its flag, but its own files have this name.
            copy = Path(directory) / self.stack.file.name
            copy.write_text(disabled(self.stack.file.read_text(encoding="utf-8"), self.origin), encoding="utf-8")
            yield Stack(self.stack.name, copy)

    def _expect(self, changes: tuple[Change, ...], operation: Operation) -> None:
        """Refuse everything but the record of the origin, and the update of its pool."""
        record = [each for each in changes if _RECORD in each.urn]
        rest = [each for each in changes if _RECORD not in each.urn]
        one = len(record) == 1 and record[0].operation is operation and record[0].urn.endswith(self.origin)
        if not one or any(_POOL not in each.urn or each.operation is not Operation.UPDATE for each in rest):
            wanted = f"{operation.value} of the record of {self.origin}"
            raise OperationError(f"not only the {wanted} is planned: {_told(changes) or 'nothing'}. Fix: look at it")

    def _served(self) -> None:
        deadline, row = time.monotonic() + PATIENCE_SECONDS, 0
        while row < ANSWERS:
            status = status_of(f"https://{self.hostname}/health")
            row = row + 1 if status == OK_STATUS else 0
            if row == 0 and time.monotonic() > deadline:
                raise OperationError(
                    f"https://{self.hostname}/health: {status}, not {ANSWERS} answers of 200 in a row within "
                    f"{PATIENCE_SECONDS} s. Fix: docs/runbooks/regional-failure.md"
                )

    def _step(self, title: str, action: Callable[[], _Result]) -> _Result:
        begun = time.monotonic()
        try:
            return action()
        finally:
            self.seconds[f"{len(self.seconds) + 1}. {title}"] = time.monotonic() - begun
            print(f"{title:<40} {time.monotonic() - begun:6.1f} s", flush=True)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m operations.dns_drill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--execute", action="store_true", help="do it, where the default only looks")
    stack, arguments = of_arguments(parser, "origin")
    dns = decrypted(parser, stack).dns
    try:
        drill = Drill(stack, arguments.origin, checked(dns, arguments.origin).hostname)
        drill.look()
        if not arguments.execute:
            print(f"ready: one record would go and come back. To do it: … {stack.name} {drill.origin} --execute")
            return 0
        drill.rehearse()
    except OperationError as error:
        print(f"dns drill: {error}", file=sys.stderr)
        return 1
    print(f"rehearsed: {drill.origin} was out of DNS and is back")
    return 0


def checked(dns: Dns | None, origin: str) -> Dns:
    """The DNS section. Raises ``OperationError`` unless every origin is in DNS, this one and another among them."""
    if dns is None:
        raise OperationError("dns is missing. Fix: name a stack that has a public name")
    if origin not in dns.origins:
        raise OperationError(f"dns.origins has no {origin}. Fix: one of {', '.join(dns.origins)}")
    out = [name for name, state in dns.origins.items() if state is OriginState.DISABLED]
    if out:
        raise OperationError(f"dns.origins.{out[0]} is disabled: this is no time for a drill. Fix: fail back first")
    if len(dns.origins) == 1:
        raise OperationError(f"dns.origins has {origin} alone: nobody would serve. Fix: name a stack with two origins")
    return dns


def disabled(text: str, origin: str) -> str:
    """A stack file with one origin out of DNS, and all else as it was."""
    patch = stackfile.prefixed({"dns": {"origins": {origin: OriginState.DISABLED.value}}})
    return stackfile.dump(stackfile.merge(stackfile.parse(text), {"config": patch}))


def _changes(stack: Stack) -> tuple[Change, ...]:
    return of_preview(stack.pulumi("preview", "--json"))


def _up(stack: Stack) -> None:
    # The preview was read before; a failover waits for no second one.
    stack.pulumi("up", "--yes", "--skip-preview", "--suppress-outputs")


def _told(changes: tuple[Change, ...]) -> str:
    return ", ".join(f"{each.operation.value} {each.urn.rpartition('::')[2]}" for each in changes)


if __name__ == "__main__":
    sys.exit(main())
