"""``python -m operations.edge_retire STACK NODE``: end what a stack runs on an edge node that is about to leave it.

Taking a node out of the stack file runs nothing on it, since it may be dead (design decision 8); a live one would go on
serving and watching. This says what would end there; with ``--execute`` it ends it. Certificates, logs and the files of
others stay, and so does the host firewall, which is for every node of the cluster.

Exit status: 0 said or done, 1 refused or failed with the reason in one line, 2 the stack cannot be read.
"""

import argparse
import sys

from components.edge.node import retire_step
from operations.hosts import reachable
from operations.stack import OperationError, decrypted, of_arguments
from settings.model import OriginState, Settings


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m operations.edge_retire",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--execute", action="store_true", help="end it; without this flag the command only looks")
    stack, arguments = of_arguments(parser, "node")
    settings = decrypted(parser, stack)
    try:
        print(retire(settings, stack.name, arguments.node, execute=arguments.execute), end="")
    except OperationError as error:
        print(f"{arguments.node}: {error}", file=sys.stderr)
        return 1
    return 0


def retire(settings: Settings, stack: str, node: str, *, execute: bool) -> str:
    """What was ended, or would be, in lines.

    Raises ``OperationError`` for a node that is in DNS or is no edge node, and for one that cannot be asked.
    """
    edge, dns = settings.edge, settings.dns
    if edge is None or node not in edge.nodes:
        raise OperationError("not in edge.nodes. Fix: name an edge node that the stack still has")
    if dns is not None and dns.origins.get(node) is OriginState.ENABLED:
        raise OperationError(f"in DNS, visitors are sent there. Fix: dns.origins.{node}: disabled, pulumi up")
    step = retire_step(stack)
    with reachable(settings) as hosts:
        done = hosts.run(node, hosts.become_root, step.stdin(0) if execute else step.check())
    if done.returncode:
        raise OperationError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
