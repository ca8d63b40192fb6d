"""The images of the sandbox: their names, and how each one starts.

Names, users, ids, paths, volumes and environment are those of the images the stack files name, so that a manifest that
works here works there. What is inside is Debian's build of the same programs, or the stand-in for the platform's own
applications.
"""

from sandbox.images.oci import ImageConfig

COREDNS = "docker.io/coredns/coredns:1.12.1"
PAUSE = "registry.k8s.io/pause:3.9"
POSTGRES = "docker.io/library/postgres:15-alpine"
REDIS = "docker.io/library/redis:7-alpine"
HAPROXY = "docker.io/library/haproxy:2.6-alpine"
PROMETHEUS = "quay.io/prometheus/prometheus:v2.42.0"
ALERTMANAGER = "quay.io/prometheus/alertmanager:v0.25.0"
EXPORTERS = {
    "postgres_exporter": "quay.io/prometheuscommunity/postgres-exporter:v0.19.1",
    "redis_exporter": "docker.io/oliver006/redis_exporter:v1.74.0",
    "node_exporter": "quay.io/prometheus/node-exporter:v1.12.1",
    "kube-state-metrics": "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.15.0",
}

APPLICATIONS = (
    "api-gateway",
    "migration",
    "outbox-submitter",
    "projector",
    "svc-admin",
    "svc-governance",
    "svc-identity",
    "svc-loanpool",
    "svc-organization",
    "svc-tax",
    "svc-tokenomics",
    "svc-wallet",
)


def application(service: str) -> str:
    """Name of the stand-in image for one of the platform's applications."""
    return f"ghcr.io/gx-protocol/{service}:sandbox"


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEBIAN = {"gx.sandbox/contents": "Debian 12 packages"}
_BUILT = {"gx.sandbox/contents": "built from source"}
_STANDIN = {"gx.sandbox/contents": "stand-in for the application"}

DEBIAN_PACKAGES = (
    "busybox-static",
    "haproxy",
    "postgresql-15",
    "prometheus",
    "prometheus-alertmanager",
    "redis-server",
)
DEBIAN_CONFIGS = {
    POSTGRES: ImageConfig(
        # Alpine's libc takes en_US.utf8 for granted; glibc has no locale files but for C.UTF-8.
        env={"PATH": _PATH, "LANG": "C.UTF-8", "PG_MAJOR": "15", "PGDATA": "/var/lib/postgresql/data"},
        command=("postgres",),
        volumes=("/var/lib/postgresql/data",),
        ports=("5432/tcp",),
        stop_signal="SIGINT",
        labels=_DEBIAN,
    ),
    REDIS: ImageConfig(
        env={"PATH": _PATH},
        working_directory="/data",
        command=("redis-server",),
        volumes=("/data",),
        ports=("6379/tcp",),
        labels=_DEBIAN,
    ),
    HAPROXY: ImageConfig(
        user="haproxy",
        env={"PATH": _PATH},
        working_directory="/var/lib/haproxy",
        command=("haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"),
        stop_signal="SIGUSR1",
        labels=_DEBIAN,
    ),
    PROMETHEUS: ImageConfig(
        user="nobody",
        env={"PATH": _PATH},
        working_directory="/prometheus",
        entrypoint=("/bin/prometheus",),
        volumes=("/prometheus",),
        ports=("9090/tcp",),
        labels=_DEBIAN,
    ),
    ALERTMANAGER: ImageConfig(
        user="nobody",
        env={"PATH": _PATH},
        working_directory="/alertmanager",
        entrypoint=("/bin/alertmanager",),
        volumes=("/alertmanager",),
        ports=("9093/tcp",),
        labels=_DEBIAN,
    ),
}

COREDNS_CONFIG = ImageConfig(
    user="65532:65532", env={"PATH": _PATH}, entrypoint=("/coredns",), ports=("53/udp", "53/tcp"), labels=_BUILT
)
PAUSE_CONFIG = ImageConfig(user="65535:65535", env={"PATH": _PATH}, entrypoint=("/pause",), labels=_BUILT)


def exporter_config(program: str) -> ImageConfig:
    """How the image of an exporter starts."""
    return ImageConfig(user="65534:65534", env={"PATH": _PATH}, entrypoint=(f"/{program}",), labels=_BUILT)


STANDIN_CONFIG = ImageConfig(
    user="1000:1000",
    # The Go runtime otherwise starts one thread per processor and lets the heap double.
    env={"PATH": _PATH, "GOMAXPROCS": "2", "GOMEMLIMIT": "64MiB"},
    entrypoint=("/standin",),
    labels=_STANDIN,
)
