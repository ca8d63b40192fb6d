"""The Pod Security Standard ``restricted``, and a read-only root file system (SEC-01 to SEC-04, X-26).

https://kubernetes.io/docs/concepts/security/pod-security-standards/: ``restricted`` holds all of ``baseline``. The API
server refuses the same pods at admission, but only when the objects above them have been changed already.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checks.objects.model import Breach, Declared, PodTemplate, items, mapping, pods, told
from settings.problems import Problem

HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
CAPABILITY = "NET_BIND_SERVICE"
PROFILES = frozenset({"RuntimeDefault", "Localhost"})
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)


def restricted(declared: Sequence[Declared]) -> Iterator[Breach]:
    """What the standard forbids in a pod and in each of its containers."""
    for pod in pods(declared):
        for problem in _pod(pod):
            yield pod.owner, problem
        for path, container in pod.containers():
            for problem in _container(path, container, pod):
                yield pod.owner, problem


def read_only_root(declared: Sequence[Declared]) -> Iterator[Breach]:
    """A container writes to its declared volumes alone (SEC-02)."""
    for pod in pods(declared):
        for path, container in pod.containers():
            if mapping(container, "securityContext").get("readOnlyRootFilesystem") is not True:
                yield (
                    pod.owner,
                    Problem(
                        f"{path}.securityContext.readOnlyRootFilesystem",
                        "the root file system can be written",
                        "write true, and an emptyDir for each directory that has to be written",
                    ),
                )


def _pod(pod: PodTemplate) -> Iterator[Problem]:
    for field in HOST_NAMESPACES:
        if pod.spec.get(field):
            yield Problem(f"{pod.path}.{field}", "shares a namespace with the node", "remove it")
    for volume in items(pod.spec, "volumes"):
        for kind in volume:
            if kind != "name" and kind not in VOLUMES:
                path = f"{pod.path}.volumes[{volume.get('name')}].{kind}"
                yield Problem(path, "a kind of volume that reaches past the pod", "use a volume claim or an emptyDir")
    context = mapping(pod.spec, "securityContext")
    for sysctl in items(context, "sysctls"):
        if sysctl.get("name") not in SYSCTLS:
            yield Problem(f"{pod.path}.securityContext.sysctls", "not a safe one", "remove it", told(sysctl["name"]))
    yield from _either_context(f"{pod.path}.securityContext", context)


def _container(path: str, container: Mapping[str, Any], pod: PodTemplate) -> Iterator[Problem]:
    own, inherited = mapping(container, "securityContext"), mapping(pod.spec, "securityContext")
    here = f"{path}.securityContext"
    if own.get("privileged"):
        yield Problem(f"{here}.privileged", "a privileged container is root on the node", "remove it")
    if own.get("allowPrivilegeEscalation") is not False:
        yield Problem(f"{here}.allowPrivilegeEscalation", "a process may gain rights", "write false")
    if own.get("procMount") not in {None, "Default"}:
        yield Problem(f"{here}.procMount", "shows all of /proc", "remove it", told(own["procMount"]))
    if "ALL" not in items(mapping(own, "capabilities"), "drop"):
        yield Problem(f"{here}.capabilities.drop", "keeps capabilities", "drop: [ALL]")
    for capability in items(mapping(own, "capabilities"), "add"):
        if capability != CAPABILITY:
            yield Problem(f"{here}.capabilities.add", "a capability", f"at most {CAPABILITY}", told(capability))
    non_root = own.get("runAsNonRoot", inherited.get("runAsNonRoot"))
    if non_root is not True:
        yield Problem(f"{here}.runAsNonRoot", "may run as root", "write true here or in the pod")
    if mapping(own, "seccompProfile").get("type", mapping(inherited, "seccompProfile").get("type")) is None:
        yield Problem(f"{here}.seccompProfile", "none", "write {type: RuntimeDefault} here or in the pod")
    for port in items(container, "ports"):
        if port.get("hostPort"):
            yield Problem(f"{path}.ports", "a port of the node", "remove hostPort", told(port["hostPort"]))
    yield from _either_context(here, own)


def _either_context(path: str, context: Mapping[str, Any]) -> Iterator[Problem]:
    """What neither a pod's nor a container's security context may say."""
    if context.get("runAsUser") == 0:
        yield Problem(f"{path}.runAsUser", "root", "a user above 0", "'0'")
    for field in ("seccompProfile", "appArmorProfile"):
        kind = mapping(context, field).get("type")
        if kind is not None and kind not in PROFILES:
            yield Problem(f"{path}.{field}", "no confinement", "RuntimeDefault", told(kind))
    linux = mapping(context, "seLinuxOptions")
    if (linux.get("type") or "") not in SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield Problem(f"{path}.seLinuxOptions", "a label of its own", "remove it")
    if mapping(context, "windowsOptions").get("hostProcess"):
        yield Problem(f"{path}.windowsOptions.hostProcess", "a process of the node", "remove it")
