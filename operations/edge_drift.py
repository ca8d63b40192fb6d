"""What differs on the nodes from what the program writes there: ``make edge-drift STACK=…``.

The plugin that provisions the nodes cannot read them, so a refresh sees nothing of a file that somebody edited, a
package that was removed or a service that was stopped. This asks all nodes at once, and changes nothing on any.
Exit status: 0 all as written, 1 something differs or a node could not be asked, 2 the stack could not be read.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.edge.firewall import firewall_steps
from components.edge.node import node_steps
from components.edge.steps import DRIFT, Step
from operations.hosts import Hosts, reachable
from operations.stack import OperationError, Stack, last_line, of_arguments
from settings.loader import SettingsError
from settings.model import Settings
from settings.stackfile import PROJECT

COMMAND_TYPE = "command:remote:Command"
_STEP, _FAILED, _END = "gx-step: ", "gx-step-failed", "END-OF-GX-STEP"


@dataclass(frozen=True)
class Declared:
    """A step of a node as the program declares it."""

    component: str
    resource: str
    step: Step

    def urn(self, stack: str) -> str:
        """Name of its resource in the state."""
        return f"urn:pulumi:{stack}::{PROJECT}::gx:edge:{self.component}${COMMAND_TYPE}::{self.resource}"


@dataclass(frozen=True)
class Finding:
    """What was found of one step; ``lines`` is empty where all is as written."""

    declared: Declared
    lines: tuple[str, ...]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="make edge-drift", description=__doc__)
    stack, _ = of_arguments(parser)
    try:
        settings = stack.settings()
        with reachable(settings) as hosts:
            nodes = declared(settings, stack.name)
            with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
                reports = list(pool.map(lambda node: _report(hosts, node, nodes[node], stack), nodes))
    except (OperationError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    for _, text in reports:
        print(text)
    return 0 if all(well for well, _ in reports) else 1


def declared(settings: Settings, stack: str) -> dict[str, list[Declared]]:
    """Every step of every node, as ``__main__`` declares them."""
    edge, nodes = settings.edge, settings.cluster.nodes
    found: dict[str, list[Declared]] = {}
    if edge is None:
        return found
    for node in edge.nodes:
        steps = node_steps(node, edge, nodes, settings.services, stack, dns=settings.dns, secrets=settings.secrets)
        found[node] = [Declared("EdgeNode", f"{node}-{part}", step) for part, step in steps.items()]
    for node in nodes if edge.firewall else ():
        steps = firewall_steps(edge, nodes)
        found.setdefault(node, []).extend(
            Declared("NodeFirewall", f"{node}-firewall-{part}", step) for part, step in steps.items()
        )
    return found


def look(hosts: Hosts, node: str, steps: list[Declared]) -> list[Finding]:
    """What differs, step by step, asked in one connection. Raises ``OperationError`` when the node cannot be asked."""
    program = "".join(
        f"echo '{_STEP}{number}'\nbash 2>&1 <<'{_END}' || echo '{_FAILED}'\n{each.step.check()}{_END}\n"
        for number, each in enumerate(steps)
    )
    done = hosts.run(node, hosts.become_root, f"{program}echo '{_STEP}{len(steps)}'\n")
    found: list[list[str]] = [[] for _ in steps]
    said, number = "", 0
    for line in done.stdout.splitlines():
        if line.startswith(_STEP):
            number = int(line.removeprefix(_STEP))
        elif line.startswith(DRIFT):
            found[number].append(line.removeprefix(DRIFT))
        elif line == _FAILED:
            found[number].append(f"could not be looked at: {said}")
        else:
            said = line
    if number < len(steps):
        raise OperationError(
            f"looked at {number} of {len(steps)} steps: {last_line(done.stderr)}. "
            f"Fix: `{hosts.become_root}` has to work there"
        )
    return [Finding(each, tuple(lines)) for each, lines in zip(steps, found, strict=True)]


def _report(hosts: Hosts, node: str, steps: list[Declared], stack: Stack) -> tuple[bool, str]:
    """Whether all is as written, and what to print of a node."""
    try:
        findings = look(hosts, node, steps)
    except OperationError as error:
        return False, f"{node}: {error}"
    different = [finding for finding in findings if finding.lines]
    if not different:
        return True, f"{node}: as written ({len(steps)} steps)"
    lines = [f"{node}:"]
    for finding in different:
        lines += [f"  {finding.declared.resource}: {line}" for line in finding.lines]
        lines.append(f"    Fix: pulumi up --stack {stack.name} --target-replace '{finding.declared.urn(stack.name)}'")
    lines.append(
        f"  Fix all of {node}: raise edge.reprovision.{node} in the stack file, pulumi up --stack {stack.name}"
    )
    return False, "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
