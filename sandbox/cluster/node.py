"""One node: a machine with its own disk, containerd, kubelet and kube-proxy, pod network and made-up hardware.

Network policies are enforced by kube-router, whose controller K3s runs inside itself:
https://docs.k3s.io/networking/networking-services#network-policy-controller
"""

import json
from pathlib import Path

import grpc

from sandbox import images, netns, processes
from sandbox import layout as where
from sandbox.cluster import cgroups, hardware, pki
from sandbox.cluster.kubectl import kubectl
from sandbox.layout import Layout, NodeSpec
from sandbox.toolchain import tool

_HERE = Path(__file__).parent
_SOCKET = "/run/containerd/containerd.sock"
_VXLAN_PORT = 8472
_VXLAN_OVERHEAD = 50
_DAEMONS = ("containerd", "kubelet", "kube-proxy", "kube-router")


def start(layout: Layout, node: NodeSpec) -> None:
    """Start what of the node is not running; return when its container runtime answers, before the node is ready."""
    if not netns.running(layout, node.name):
        netns.start(layout, node.name)
        _lay_out_disk(layout, node)
        _join_pod_network(layout, node)
        cgroups.create(layout.cgroup(node.name))
    if processes.pid_of(layout, _daemon(node, "containerd")) is None:
        disk = layout.data(node.name) / "var/lib/containerd"
        if not any(disk.iterdir()):
            images.seed(disk)
        _spawn(layout, node, "containerd", ["containerd", f"--config={_HERE / 'containerd.toml'}"])
        processes.wait_until(
            f"containerd of {node.name} answers",
            lambda: _runtime_answers(netns.host_path(layout, node.name, _SOCKET)),
            timeout=120,
            log=layout.log(_daemon(node, "containerd")),
        )
    if processes.pid_of(layout, _daemon(node, "kubelet")) is None:
        _spawn(layout, node, "kubelet", [str(tool("kubelet")), *_kubelet_flags(layout, node)])
    if processes.pid_of(layout, _daemon(node, "kube-proxy")) is None:
        _spawn(layout, node, "kube-proxy", [str(tool("kube-proxy")), *_kube_proxy_flags(layout, node)])
    if processes.pid_of(layout, _daemon(node, "kube-router")) is None:
        # It ends where the kubelet has not told the node's address yet.
        processes.wait_until(
            f"the cluster knows the address of {node.name}",
            lambda: kubectl(layout, "get", "node", node.name, "-o", "jsonpath={.status.addresses}") != "",
            timeout=120,
            log=layout.log(_daemon(node, "kubelet")),
        )
        _spawn(layout, node, "kube-router", [str(tool("kube-router")), *_kube_router_flags(layout, node)])


def stop(layout: Layout, node: NodeSpec) -> None:
    """Power the node off: every process of it dies at once, its disk stays. Its neighbours hear nothing more."""
    netns.power_off(layout, node.name)
    for name in reversed(_DAEMONS):
        processes.stop(layout, _daemon(node, name), grace=0)
    cgroups.remove(layout.cgroup(node.name))


def remove(layout: Layout, node: NodeSpec) -> None:
    """Power the node off and delete its disk."""
    stop(layout, node)
    netns.remove(layout, node.name)


def dead_daemons(layout: Layout, node: NodeSpec) -> list[str]:
    """Programs of the node that should run and do not."""
    return [name for name in _DAEMONS if processes.pid_of(layout, _daemon(node, name)) is None]


def _runtime_answers(socket: Path) -> bool:
    """Whether containerd serves the kubelet, which ends at the first refusal; it listens before it does.

    https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto (Version)
    """
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        version: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/runtime.v1.RuntimeService/Version")
        try:
            version(b"", timeout=5)
        except grpc.RpcError:
            return False
    return True


def _daemon(node: NodeSpec, program: str) -> str:
    return f"{node.name}-{program}"


def _spawn(layout: Layout, node: NodeSpec, program: str, argv: list[str]) -> None:
    processes.spawn(layout, _daemon(node, program), [*netns.enter_argv(layout, node.name), *argv])


def _lay_out_disk(layout: Layout, node: NodeSpec) -> None:
    disk = layout.data(node.name)
    hardware.write(disk / "hardware", cpus=where.NODE_CPUS, memory_gib=where.NODE_MEMORY_GIB)
    visible = [str(path) for path in (layout.root, where.cache()) if path.exists()]
    mounts = ["sh", str(_HERE / "node-mounts.sh"), str(disk), node.name, *visible]
    netns.run_in(layout, node.name, mounts)
    etc = netns.host_path(layout, node.name, "/etc")
    (etc / "resolv.conf").write_text(f"nameserver {where.CLOUDFLARE_ADDRESS}\n")
    (etc / "hostname").write_text(f"{node.name}\n")
    (etc / "cni/net.d").mkdir(parents=True, exist_ok=True)
    (etc / "cni/net.d/10-gx.conflist").write_text(json.dumps(_cni(node)))


def _cni(node: NodeSpec) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "hairpinMode": True,
        "mtu": 1500 - _VXLAN_OVERHEAD,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": node.pod_cidr}]]},
    }
    return {
        "cniVersion": "1.0.0",
        "name": "gx",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _join_pod_network(layout: Layout, node: NodeSpec) -> None:
    """Lay the overlay K3s's flannel lays, VXLAN 1 and its masquerading, so that pods see production's source addresses.

    https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md#vxlan
    """
    others = [other for other in where.NODES if other != node]
    _in_node(
        layout,
        node,
        "ip",
        "-batch",
        "-",
        stdin="\n".join(
            [
                f"link add flannel.1 address {_overlay_mac(node)} mtu {1500 - _VXLAN_OVERHEAD} type vxlan id 1"
                f" dev eth0 local {node.address} dstport {_VXLAN_PORT} nolearning",
                f"address add {node.overlay_address}/32 dev flannel.1",
                "link set flannel.1 up",
                *(f"neighbour add {o.overlay_address} lladdr {_overlay_mac(o)} dev flannel.1" for o in others),
                *(f"route add {o.pod_cidr} via {o.overlay_address} dev flannel.1 onlink" for o in others),
            ]
        ),
    )
    for other in others:
        _in_node(layout, node, "bridge", "fdb", "append", _overlay_mac(other), "dev", "flannel.1", "dst", other.address)
    _in_node(layout, node, "sysctl", "-q", "-w", "net.bridge.bridge-nf-call-iptables=1")
    cluster, own = where.POD_CIDR, node.pod_cidr
    rules = [
        f"-s {cluster} -d {cluster} -j RETURN",
        f"-s {cluster} ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
        f"! -s {cluster} -d {own} -j RETURN",
        f"! -s {cluster} -d {cluster} -j MASQUERADE --random-fully",
    ]
    _in_node(
        layout,
        node,
        "iptables-restore",
        "--noflush",
        stdin="\n".join(
            [
                "*nat",
                ":FLANNEL-POSTRTG - [0:0]",
                "-A POSTROUTING -j FLANNEL-POSTRTG",
                *(f"-A FLANNEL-POSTRTG {rule}" for rule in rules),
                "COMMIT\n",
            ]
        ),
    )


def _in_node(layout: Layout, node: NodeSpec, *argv: str, stdin: str | None = None) -> None:
    netns.run_in(layout, node.name, argv, stdin=stdin)


def _overlay_mac(node: NodeSpec) -> str:
    return f"02:61:00:00:00:{node.index:02x}"


def _kubelet_flags(layout: Layout, node: NodeSpec) -> list[str]:
    return [
        f"--config={_HERE / 'kubelet.yaml'}",
        f"--kubeconfig={pki.kubeconfig_path(layout, node.name)}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--cgroup-root={layout.cgroup(node.name)}",
        f"--client-ca-file={layout.pki / 'ca.crt'}",
        "--cert-dir=/var/lib/kubelet/pki",
        # Nothing here reads the statistics of containers, and four kubelets share one machine.
        "--housekeeping-interval=60s",
    ]


def _kube_proxy_flags(layout: Layout, node: NodeSpec) -> list[str]:
    limits = ("max-per-core", "min", "tcp-timeout-established", "tcp-timeout-close-wait")
    return [
        f"--kubeconfig={pki.kubeconfig_path(layout, pki.KUBE_PROXY)}",
        f"--hostname-override={node.name}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={where.POD_CIDR}",
        # The host's connection tracking is not the node's to size.
        *(f"--conntrack-{limit}=0" for limit in limits),
        "--conntrack-udp-timeout=0",
        "--conntrack-udp-timeout-stream=0",
    ]


def _kube_router_flags(layout: Layout, node: NodeSpec) -> list[str]:
    return [
        f"--kubeconfig={pki.kubeconfig_path(layout, pki.KUBE_ROUTER)}",
        f"--hostname-override={node.name}",
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        f"--service-cluster-ip-range={where.SERVICE_CIDR}",
        f"--service-node-port-range={where.NODE_PORTS}",
        "--health-port=0",
    ]
