"""Machines: network namespaces joined by one bridge, with mounts and, but for the internet, processes of their own.

`internet` holds the bridge and routes between the others and their public addresses. Every machine's first process is a
small init; when it is killed the kernel ends everything in the machine, which is how a node loses power. All know each
other's hardware addresses by heart, so that a machine that is dead or cut off is silent, like a host at another
provider, and not "no route to host".

Interfaces are created inside the namespaces; the host sees only their names under /run/netns.
"""

import shlex
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from sandbox import layout as where
from sandbox import processes
from sandbox.layout import Layout, MachineSpec
from sandbox.processes import SandboxError, run, succeeds

_FORWARDING = ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")


def start(layout: Layout, name: str) -> None:
    """Bring a machine up: its network, its mounts and its init. Nothing happens when it runs."""
    if running(layout, name):
        return
    power_off(layout, name)
    if name == where.INTERNET:
        _connect_internet(layout)
        resolver = layout.runtime / "resolv.conf"
        resolver.write_text(f"nameserver {where.CLOUDFLARE_ADDRESS}\n")
        own_names = f"mount --bind {shlex.quote(str(resolver))} /etc/resolv.conf && exec sleep infinity"
        inner = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", own_names]
    else:
        _connect(layout, where.machine(name))
        inner = ["unshare", "--mount", "--propagation", "private", "--pid", "--uts"]
        inner += ["--fork", "--kill-child", "--mount-proc", "tini", "-s", "--", "sleep", "infinity"]
    processes.spawn(layout, _init(name), [*where.nsenter_argv(layout.netns(name)), *inner])
    processes.wait_until(
        f"machine {name} has its own mounts", lambda: _separate(layout, name), timeout=10, log=layout.log(_init(name))
    )


def running(layout: Layout, name: str) -> bool:
    """Whether the machine's init lives and its network exists."""
    return _pid(layout, name) is not None and _exists(layout.netns(name))


def power_off(layout: Layout, name: str) -> None:
    """Kill every process of a machine and remove its network, as losing power does. Its disk stays.

    The processes of the internet machine are those in its network namespace; other machines die with their init.
    """
    netns = layout.netns(name)
    if _exists(netns):
        killed: dict[int, str] = {}
        # A process leaves its network a moment before it ends; until then it would be taken for running.
        try:
            processes.wait_until(
                f"every process of {name} is gone",
                lambda: not _kill_all(netns, killed) and not any(map(processes.lives, killed, killed.values())),
                timeout=120,
            )
        except SandboxError as error:
            left = [f"{pid} {processes.command_of(pid)}" for pid in killed if processes.lives(pid, killed[pid])]
            raise SandboxError(f"{error}. Left: {', '.join(left) or 'new ones each time'}") from None
    processes.stop(layout, _init(name), grace=0)
    if _exists(netns):
        run(["ip", "netns", "delete", netns])
    if name != where.INTERNET and _exists(layout.netns(where.INTERNET)):
        port = where.machine(name).port
        internet = layout.netns(where.INTERNET)
        # Both ends go with this one. Left to itself, the cable would stay while the kernel still tries to
        # close connections of killed processes to machines that no longer answer, which takes minutes.
        succeeds(["ip", "-n", internet, "link", "delete", port])
        processes.wait_until(
            f"the cable of {name} is gone",
            lambda: not succeeds(["ip", "-n", internet, "link", "show", port]),
            timeout=10,
        )


def remove(layout: Layout, name: str) -> None:
    """Power a machine off and delete its disk."""
    power_off(layout, name)
    shutil.rmtree(layout.data(name), ignore_errors=True)


def cut(layout: Layout, name: str) -> None:
    """Drop every packet from and to a machine without telling either side."""
    _set_port_state(layout, name, "0")


def heal(layout: Layout, name: str) -> None:
    """Undo `cut`."""
    _set_port_state(layout, name, "3")


def enter_argv(layout: Layout, name: str, directory: str = "/") -> list[str]:
    """Command prefix that runs a program inside a machine, in a directory of the machine's own file tree.

    Where the machine has processes of its own the program is nsenter's child, and dies with it.
    """
    pid = _pid(layout, name)
    if pid is None:
        raise SandboxError(f"machine {name} is not running. Start it: python -m sandbox up")
    prefix = ["nsenter", "--target", str(pid), "--mount", "--net", f"--wdns={directory}"]
    if name == where.INTERNET:
        return [*prefix, "--"]
    return [*prefix, "--pid", "--uts", "--", "setpriv", "--pdeathsig", "KILL"]


def run_in(layout: Layout, name: str, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 120) -> str:
    """Run a program inside a machine to its end; see `processes.run`."""
    return run([*enter_argv(layout, name), *argv], stdin=stdin, timeout=timeout)


def host_path(layout: Layout, name: str, path: str) -> Path:
    """Where the host sees a path of a machine's own file tree."""
    return Path(f"/proc/{_pid(layout, name)}/root{path}")


def _init(name: str) -> str:
    return f"machine-{name}"


def _pid(layout: Layout, name: str) -> int | None:
    holder = processes.pid_of(layout, _init(name))
    if holder is None or name == where.INTERNET:
        return holder
    return processes.child_of(holder)


def _separate(layout: Layout, name: str) -> bool:
    pid = _pid(layout, name)
    if pid is None or Path(f"/proc/{pid}/comm").read_text().strip() not in ("tini", "sleep"):
        return False
    return Path(f"/proc/{pid}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()


def _exists(netns: str) -> bool:
    return Path("/run/netns", netns).exists()


def _kill_all(netns: str, killed: dict[int, str]) -> bool:
    """Kill every process in a network namespace and note it in ``killed`` with its start; whether any was there."""
    pids = [int(pid) for pid in run(["ip", "netns", "pids", netns]).split()]
    for pid in pids:
        killed[pid] = processes.start_of(pid)
        processes.kill(pid, signal.SIGKILL)
    return bool(pids)


def _sysctl(netns: str, settings: Sequence[str]) -> None:
    run([*where.nsenter_argv(netns), "sysctl", "-q", "-w", *settings])


def _ip(netns: str, *commands: str) -> None:
    run(["ip", "-n", netns, "-batch", "-"], stdin="\n".join(commands) + "\n")


def _connect_internet(layout: Layout) -> None:
    netns = layout.netns(where.INTERNET)
    run(["ip", "netns", "add", netns])
    _sysctl(netns, _FORWARDING)
    _ip(
        netns,
        "link set lo up",
        *(f"address add {address}/32 dev lo" for address in where.CLIENT_ADDRESSES),
        f"link add {where.WAN_BRIDGE} address {_INTERNET_MAC} type bridge",
        f"address add {where.INTERNET_ADDRESS}/{where.WAN_PREFIX_LENGTH} dev {where.WAN_BRIDGE}",
        f"link set {where.WAN_BRIDGE} up",
        *(f"neighbour add {m.address} lladdr {m.mac} dev {where.WAN_BRIDGE} nud permanent" for m in where.MACHINES),
        *(f"route add {public} via {m.address}" for m in where.MACHINES for public in m.public_addresses),
    )


def _connect(layout: Layout, machine: MachineSpec) -> None:
    netns, internet = layout.netns(machine.name), layout.netns(where.INTERNET)
    run(["ip", "netns", "add", netns])
    _sysctl(netns, _FORWARDING)
    _ip(
        internet,
        f"link add {machine.port} type veth peer name eth0 address {machine.mac} netns {netns}",
        f"link set {machine.port} master {where.WAN_BRIDGE} up",
    )
    _ip(
        netns,
        "link set lo up",
        f"address add {machine.address}/{where.WAN_PREFIX_LENGTH} dev eth0",
        *(f"address add {public}/32 dev eth0" for public in machine.public_addresses),
        "link set eth0 up",
        f"route add default via {where.INTERNET_ADDRESS}",
        f"neighbour add {where.INTERNET_ADDRESS} lladdr {_INTERNET_MAC} dev eth0 nud permanent",
        *(f"neighbour add {m.address} lladdr {m.mac} dev eth0 nud permanent" for m in where.MACHINES if m != machine),
    )


def _set_port_state(layout: Layout, name: str, state: str) -> None:
    port = where.machine(name).port
    run(["bridge", "-n", layout.netns(where.INTERNET), "link", "set", "dev", port, "state", state])


_INTERNET_MAC = MachineSpec(where.INTERNET, where.INTERNET_ADDRESS).mac
