"""Starts and stops sshd on the four nodes, and knows the keys.

Root logs in with the operator's key alone. What is started over SSH (Nginx, certbot's renewal) ends when the node does.
"""

from pathlib import Path

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.layout import Layout, NodeSpec
from sandbox.parts import Health, say

_BOOT = Path(__file__).parent / "boot.sh"
_HOST_KEY = "ssh_host_ed25519_key"


def operator_key(layout: Layout) -> Path:
    """Private key that logs in as root on every node; the public one beside it ends in `.pub`."""
    return layout.runtime / "ssh/id_ed25519"


def host_key(layout: Layout, node: NodeSpec) -> str:
    """Public host key of a node, `ssh-ed25519 AAAA…`, as a client pins it."""
    return " ".join(_public(_host_key_path(layout, node)).read_text().split()[:2])


def ensure_keys(layout: Layout) -> None:
    """Make the operator's key pair, every node's host key and `known_hosts` unless they exist. No node need run."""
    for path, comment in (
        (operator_key(layout), "operator"),
        *((_host_key_path(layout, n), n.name) for n in where.NODES),
    ):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            processes.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    lines = [f"{','.join(_addresses(node))} {host_key(layout, node)}\n" for node in where.NODES]
    (operator_key(layout).parent / "known_hosts").write_text("".join(lines))


def start(layout: Layout) -> None:
    """Bring sshd up on every running node and return when all of them answer. Nothing happens where it runs."""
    ensure_keys(layout)
    booting = [node for node in where.NODES if netns.running(layout, node.name) and not _runs(layout, node)]
    for node in booting:
        say(f"booting {node.name} as a host")
        disk = layout.data(node.name) / "host"
        argv = ["unshare", "--mount", "--propagation", "slave", "sh", str(_BOOT), str(disk)]
        argv += [str(_host_key_path(layout, node).parent), str(_public(operator_key(layout)))]
        processes.spawn(layout, _name(node), [*netns.enter_argv(layout, node.name), *argv])
    for node in booting:
        processes.wait_until(
            f"sshd of {node.name} answers",
            lambda: _answers(layout, node),  # noqa: B023 - called before the loop goes on
            timeout=120,
            log=layout.log(_name(node)),
        )


def stop(layout: Layout) -> None:
    """End sshd on every node. The nodes' own end takes everything else with it."""
    for node in where.NODES:
        processes.stop(layout, _name(node))


def status(layout: Layout) -> list[Health]:
    """Whether sshd runs, node by node."""
    lines = []
    for node in where.NODES:
        well = _runs(layout, node)
        found = f"ssh -i {operator_key(layout)} root@{node.address}"
        lines.append(Health(f"host {node.name}", well, found if well else f"no sshd; see {layout.log(_name(node))}"))
    return lines


def enter_argv(layout: Layout, node: NodeSpec) -> list[str]:
    """Command prefix that runs a program on a host, where its administrator's files are.

    The program is nsenter's child, and dies with it.
    """
    holder = processes.pid_of(layout, _name(node))
    sshd = processes.child_of(holder) if holder else None
    if sshd is None:
        raise processes.SandboxError(f"no sshd on {node.name}. Start it: python -m sandbox up")
    namespaces = ["--mount", "--net", "--pid", "--uts"]
    return ["nsenter", "--target", str(sshd), *namespaces, "--wdns=/", "--", "setpriv", "--pdeathsig", "KILL"]


def _name(node: NodeSpec) -> str:
    return f"{node.name}-sshd"


def _runs(layout: Layout, node: NodeSpec) -> bool:
    return processes.pid_of(layout, _name(node)) is not None


def _answers(layout: Layout, node: NodeSpec) -> bool:
    probe = ["ssh-keyscan", "-T", "1", "-t", "ed25519", node.address]
    return processes.succeeds([*where.nsenter_argv(layout.netns(where.INTERNET)), *probe])


def _addresses(node: NodeSpec) -> list[str]:
    return [node.name, node.address, *([node.public_address] if node.public_address else [])]


def _host_key_path(layout: Layout, node: NodeSpec) -> Path:
    return layout.runtime / "nodes" / node.name / "ssh" / _HOST_KEY


def _public(private: Path) -> Path:
    return private.with_name(private.name + ".pub")
