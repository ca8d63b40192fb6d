"""etcd, the API server, the scheduler and the controller manager, in the machine `cp`.

Flags are those K3s v1.33 gives its embedded copies where they change behaviour
(https://docs.k3s.io/security/hardening-guide: admission, anonymous access, node authoriser); the rest keeps them lean.
etcd's disk is memory: the cluster lives as long as its machine does, and a small host has no time to wait for a disk.
"""

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.cluster import pki
from sandbox.layout import Layout
from sandbox.toolchain import tool

ETCD = "etcd"
API_SERVER = "kube-apiserver"
SCHEDULER = "kube-scheduler"
CONTROLLER_MANAGER = "kube-controller-manager"
DAEMONS = (ETCD, API_SERVER, SCHEDULER, CONTROLLER_MANAGER)

_ETCD_URL = "http://127.0.0.1:2379"
_ETCD_DIRECTORY = "/run/gx-etcd"


def start(layout: Layout) -> None:
    """Start what is not running and return when the API server answers."""
    if processes.pid_of(layout, ETCD) is None:
        netns.run_in(layout, where.CONTROL_PLANE, ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", "/run"])
        # K3s runs its API server on a node, which reaches pods: `kubectl get --raw …/proxy` needs it.
        for node in where.NODES:
            netns.run_in(layout, where.CONTROL_PLANE, ["ip", "route", "add", node.pod_cidr, "via", node.address])
        _spawn(layout, ETCD, ["etcd", *_etcd_flags()])
    if processes.pid_of(layout, API_SERVER) is None:
        _spawn(layout, API_SERVER, [str(tool(API_SERVER)), *_api_server_flags(layout)])
    processes.wait_until("the API server is ready", lambda: ready(layout), timeout=180, log=layout.log(API_SERVER))
    if processes.pid_of(layout, CONTROLLER_MANAGER) is None:
        _spawn(layout, CONTROLLER_MANAGER, [str(tool(CONTROLLER_MANAGER)), *_controller_manager_flags(layout)])
    if processes.pid_of(layout, SCHEDULER) is None:
        _spawn(layout, SCHEDULER, [str(tool(SCHEDULER)), *_scheduler_flags(layout)])


def ready(layout: Layout) -> bool:
    """Whether the API server says it is ready. Asked from inside its machine, so that a cut network does not matter."""
    if not netns.running(layout, where.CONTROL_PLANE):
        return False
    probe = ["curl", "-fs", "--max-time", "2", "--cacert", str(layout.pki / "ca.crt")]
    probe += ["--cert", str(layout.pki / f"{pki.ADMIN}.crt"), "--key", str(layout.pki / f"{pki.ADMIN}.key")]
    return processes.succeeds(
        [*netns.enter_argv(layout, where.CONTROL_PLANE), *probe, f"https://127.0.0.1:{where.API_PORT}/readyz"]
    )


def refuse(layout: Layout) -> None:
    """Make the API server refuse the operator's connections, established ones included; the cluster goes on."""
    heal(layout)
    _firewall(layout, "-A", "REJECT", "--reject-with", "tcp-reset")


def blackhole(layout: Layout) -> None:
    """Make the API server's address swallow the operator's packets without an answer; the cluster goes on."""
    heal(layout)
    _firewall(layout, "-A", "DROP")


def heal(layout: Layout) -> None:
    """Undo `refuse` and `blackhole`."""
    netns.run_in(layout, where.CONTROL_PLANE, ["iptables", "-F", "INPUT"])


def _firewall(layout: Layout, change: str, *verdict: str) -> None:
    target = f"INPUT -s {where.INTERNET_ADDRESS} -p tcp --dport {where.API_PORT} -j".split()
    netns.run_in(layout, where.CONTROL_PLANE, ["iptables", change, *target, *verdict])


def _spawn(layout: Layout, name: str, argv: list[str]) -> None:
    processes.spawn(layout, name, [*netns.enter_argv(layout, where.CONTROL_PLANE), *argv])


def _etcd_flags() -> list[str]:
    return [
        f"--data-dir={_ETCD_DIRECTORY}",
        f"--listen-client-urls={_ETCD_URL}",
        f"--advertise-client-urls={_ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--snapshot-count=10000",
        "--quota-backend-bytes=536870912",
        "--auto-compaction-retention=5m",
    ]


def _api_server_flags(layout: Layout) -> list[str]:
    directory = layout.pki
    accounts = directory / f"{pki.SERVICE_ACCOUNTS}.key"
    return [
        f"--advertise-address={where.CONTROL_PLANE_ADDRESS}",
        f"--secure-port={where.API_PORT}",
        f"--etcd-servers={_ETCD_URL}",
        f"--service-cluster-ip-range={where.SERVICE_CIDR}",
        f"--service-node-port-range={where.NODE_PORTS}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--anonymous-auth=false",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        f"--client-ca-file={directory / 'ca.crt'}",
        f"--tls-cert-file={directory / f'{pki.API_SERVER}.crt'}",
        f"--tls-private-key-file={directory / f'{pki.API_SERVER}.key'}",
        f"--kubelet-client-certificate={directory / f'{pki.ADMIN}.crt'}",
        f"--kubelet-client-key={directory / f'{pki.ADMIN}.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{where.CLUSTER_DOMAIN}",
        f"--service-account-key-file={accounts}",
        f"--service-account-signing-key-file={accounts}",
        "--profiling=false",
    ]


def _controller_manager_flags(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={pki.kubeconfig_path(layout, pki.CONTROLLER_MANAGER)}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.pki / f'{pki.SERVICE_ACCOUNTS}.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--cluster-cidr={where.POD_CIDR}",
        f"--service-cluster-ip-range={where.SERVICE_CIDR}",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--profiling=false",
    ]


def _scheduler_flags(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={pki.kubeconfig_path(layout, pki.SCHEDULER)}",
        "--leader-elect=false",
        "--profiling=false",
    ]
