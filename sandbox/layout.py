"""Where everything of the sandbox is: identifiers, paths, addresses and the four nodes.

Pure: nothing here touches the machine. All addresses live in private network namespaces, so any number of checkouts use
the same ones; only names that are visible on the host carry the checkout's identifier.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

INTERNET = "internet"
"""The machine that stands for the internet and the operator's desk: pulumi, kubectl and curl of the user run there."""
CONTROL_PLANE = "cp"
CLOUDFLARE = "cf"

INTERNET_ADDRESS = "10.60.0.1"
CONTROL_PLANE_ADDRESS = "10.60.0.10"
CLOUDFLARE_ADDRESS = "10.60.0.20"
CLOUDFLARE_PUBLIC_ADDRESS = "104.16.0.1"
CLIENT_ADDRESSES = ("198.51.100.10", "203.0.113.10")
"""Addresses of the internet machine (RFC 5737) from which tests speak as clients outside every allow list."""

WAN_PREFIX_LENGTH = 24
WAN_BRIDGE = "wan0"
POD_CIDR = "10.42.0.0/16"
SERVICE_CIDR = "10.43.0.0/16"
NODE_PORTS = "30000-32767"
API_SERVICE_ADDRESS = "10.43.0.1"
CLUSTER_DNS_ADDRESS = "10.43.0.10"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
API_URL = f"https://{CONTROL_PLANE_ADDRESS}:{API_PORT}"
KUBE_CONTEXT = "gx-protocol-cluster"
CLOUDFLARE_API_URL = f"http://{CLOUDFLARE_ADDRESS}:8787/client/v4"
ACME_DIRECTORY_URL = f"https://{CLOUDFLARE_ADDRESS}:14000/dir"
ACME_DNS_ADDRESS = f"{CLOUDFLARE_ADDRESS}:8053"

VOLUMES_DIRECTORY = "/var/lib/rancher/k3s/storage"
"""Where K3s's provisioner keeps local volumes on a node."""

NODE_CPUS = 16
NODE_MEMORY_GIB = 64


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node of the source document's cluster (CL-05 to CL-08)."""

    name: str
    index: int
    zone: str
    control_plane: bool
    public_address: str | None

    @property
    def address(self) -> str:
        """Address on the sandbox's wide-area network; the Kubernetes InternalIP."""
        return f"10.60.0.{11 + self.index}"

    @property
    def pod_cidr(self) -> str:
        """Addresses of the node's pods."""
        return f"10.42.{self.index}.0/24"

    @property
    def overlay_address(self) -> str:
        """Source address of traffic from this node's own network to pods elsewhere, as flannel has it."""
        return f"10.42.{self.index}.0"

    @property
    def labels(self) -> dict[str, str]:
        """Labels K3s and the operator put on the node."""
        roles = ("control-plane", "etcd", "master") if self.control_plane else ()
        return {
            "beta.kubernetes.io/instance-type": "k3s",
            "kubernetes.io/hostname": self.name,
            "node.kubernetes.io/instance-type": "k3s",
            "topology.kubernetes.io/zone": self.zone,
            **{f"node-role.kubernetes.io/{role}": "true" for role in roles},
        }


NODES = (
    NodeSpec(name="srv1089618", index=0, zone="kuala-lumpur", control_plane=True, public_address="72.60.210.201"),
    NodeSpec(name="srv1089624", index=1, zone="phoenix", control_plane=True, public_address="217.196.51.190"),
    NodeSpec(name="srv1092158", index=2, zone="frankfurt", control_plane=True, public_address="72.61.81.3"),
    NodeSpec(name="srv1117946", index=3, zone="worker", control_plane=False, public_address=None),
)


def node(name: str) -> NodeSpec:
    """The node called `name`; a KeyError naming the known ones if there is none."""
    for spec in NODES:
        if spec.name == name:
            return spec
    raise KeyError(f"no node {name!r}; nodes: {', '.join(spec.name for spec in NODES)}")


@dataclass(frozen=True)
class MachineSpec:
    """One network namespace: the internet, the control plane, the Cloudflare double or a node."""

    name: str
    address: str
    public_addresses: tuple[str, ...] = ()

    @property
    def port(self) -> str:
        """Interface of the internet machine that leads to this machine (a port of the bridge)."""
        return f"v-{self.name}"

    @property
    def mac(self) -> str:
        """A fixed hardware address, so that a dead machine is silent instead of unresolvable."""
        return "02:60:" + ":".join(f"{int(octet):02x}" for octet in self.address.split("."))


MACHINES = (
    MachineSpec(CONTROL_PLANE, CONTROL_PLANE_ADDRESS),
    *(MachineSpec(n.name, n.address, (n.public_address,) if n.public_address else ()) for n in NODES),
    MachineSpec(CLOUDFLARE, CLOUDFLARE_ADDRESS, (CLOUDFLARE_PUBLIC_ADDRESS,)),
)


def machine(name: str) -> MachineSpec:
    """The machine called `name`; a KeyError naming the known ones if there is none. The internet is not among them."""
    for spec in MACHINES:
        if spec.name == name:
            return spec
    raise KeyError(f"no machine {name!r}; machines: {', '.join(spec.name for spec in MACHINES)}")


@dataclass(frozen=True)
class Layout:
    """Paths and host-visible names of one checkout's sandbox. `root` is the checkout's real path."""

    root: Path

    @property
    def id(self) -> str:
        """`gx-` and six hex digits of the checkout's path: the prefix of every name visible on the host."""
        return "gx-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    @property
    def runtime(self) -> Path:
        """Everything a running sandbox writes; removed by `down`, but for the logs."""
        return self.root / ".sandbox"

    @property
    def logs(self) -> Path:
        """Directory of the programs' logs."""
        return self.runtime / "log"

    @property
    def records(self) -> Path:
        """One file per started process: its id and start time."""
        return self.runtime / "run"

    @property
    def pki(self) -> Path:
        """The cluster's certificate authority, certificates, keys and kubeconfigs of its components."""
        return self.runtime / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The operator's kubeconfig."""
        return self.runtime / "kubeconfig"

    @property
    def sockets(self) -> Path:
        """Directory of unix sockets, whose paths are limited to 108 characters."""
        return Path("/run") / self.id

    def data(self, machine_name: str) -> Path:
        """The disk of one machine."""
        return self.runtime / "machines" / machine_name

    def volumes(self, node_name: str) -> Path:
        """Where the host sees the directories of a node's local volumes; the node sees them at VOLUMES_DIRECTORY."""
        return self.data(node_name) / VOLUMES_DIRECTORY.lstrip("/")

    def log(self, name: str) -> Path:
        """Log of one started program."""
        return self.logs / f"{name}.log"

    def netns(self, machine_name: str) -> str:
        """Name of a machine's network namespace, as `ip netns` lists it."""
        return self.id if machine_name == INTERNET else f"{self.id}-{machine_name}"

    def cgroup(self, machine_name: str) -> str:
        """Control group of a machine, below the root of every hierarchy."""
        return f"/{self.id}/{machine_name}"


def current() -> Layout:
    """The layout of the checkout this package is in."""
    return Layout(Path(__file__).resolve().parent.parent)


def cache() -> Path:
    """Directory of everything built once per user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "gx-backend-infra"


def nsenter_argv(netns: str) -> list[str]:
    """Command prefix that runs a program in a named network namespace, with the host's files and processes.

    `ip netns exec` is not used: it remounts /sys, which hides the control groups from kubelet and containerd.
    """
    return ["nsenter", f"--net=/run/netns/{netns}", "--"]
