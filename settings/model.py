"""The stack file as types: one frozen tree, whose top-level fields are the keys of ``Pulumi.<stack>.yaml``.

The tree carries every value that differs between environments; the code carries none. Whatever exposes, deletes or
bills has no default. Cross-field rules live in ``settings.rules``.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from settings.certificates import Certificate, Certificates
from settings.types import (
    Cidr,
    CloudflareId,
    CronSchedule,
    DnsLabel,
    Duration,
    Email,
    FileName,
    Fqdn,
    HostKey,
    ImageRef,
    IpAddress,
    IsoDate,
    LabelKey,
    LabelValue,
    Memory,
    NodeIp,
    NodePort,
    Port,
    PublicIpv4,
    Quantity,
    Replicas,
    SqlName,
    Text,
    Url,
    UrlPrefix,
)


class Section(BaseModel):
    """Base of every part of the tree: frozen, camelCase in the file, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


# --- environment -----------------------------------------------------------------------------------------------------


class LogLevel(StrEnum):
    """Log levels of the application (LOG-02 to LOG-04)."""

    INFO = "INFO"
    DEBUG = "DEBUG"
    TRACE = "TRACE"


class Environment(Section):
    """What this stack is."""

    name: DnsLabel = Field(description="Short name of the environment: mainnet, testnet or devnet.")
    namespace: DnsLabel = Field(description="Kubernetes namespace of the backend (NS-01 to NS-03).")
    labels: dict[LabelKey, LabelValue] = Field(description="Labels of the namespace (NS-01 to NS-03).")
    log_level: LogLevel = Field(description="Log level of workers and services (API-22).")
    priority: Annotated[int, Field(ge=-1000, le=1_000_000)] = Field(
        description="Value of the environment's PriorityClass; mainnet is above testnet, and Fabric above both."
    )
    require_image_digests: bool = Field(description="Refuse images that are not pinned to a digest.")
    refuse_tight_fit: bool = Field(
        description="Refuse pods that have a placement which the scheduler may miss, unless fit-tight is accepted; else"
        " it is reported."
    )
    protect_data: bool = Field(
        description="Refuse to delete the namespace, the databases and the edge nodes' certificates (NS-12)."
    )


# --- cluster ---------------------------------------------------------------------------------------------------------


class NodeRole(StrEnum):
    """Role of a K3s node."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class Node(Section):
    """One node of the existing cluster (CL-05 to CL-08, CF-02 to CF-04)."""

    role: NodeRole = Field(description="K3s role.")
    region: Text = Field(description="Name of the region in reports and alerts.")
    zone: DnsLabel = Field(description="Value of the label topology.kubernetes.io/zone; requests stay in their zone.")
    internal_ip: NodeIp = Field(description="The node's InternalIP as `kubectl get nodes -o wide` shows it.")
    public_ip: PublicIpv4 | None = Field(
        default=None, description="Public IPv4 address; absent when the node serves no public traffic."
    )
    pod_cidr: Cidr = Field(
        description="Pod network of the node, `kubectl get node -o jsonpath={.spec.podCIDR}` (X-15)."
    )
    cpu: Quantity = Field(description="Cores of the machine.")
    memory: Memory = Field(description="Memory of the machine.")
    disk: Memory = Field(description="Disk of the machine, where the volumes are (CL-05 to CL-10).")
    reserved_cpu: Quantity = Field(description="Cores that Fabric and the system use on the node (CL-11).")
    reserved_memory: Memory = Field(description="Memory that Fabric and the system use on the node (CL-11).")


class Cluster(Section):
    """The cluster the stack is deployed to. It exists already; the program never creates it (CL-01)."""

    identifier: Text = Field(
        description="Identity of the cluster: a new endpoint or context under it replaces nothing."
    )
    context: Text = Field(description="kubectl context (CL-03).")
    kubeconfig: Text | None = Field(
        default=None, description="Path of the kubeconfig file; absent means $KUBECONFIG or ~/.kube/config."
    )
    storage_class: DnsLabel = Field(
        description="StorageClass of the databases' volumes; its reclaim policy must be Retain (X-19)."
    )
    monitoring_namespace: DnsLabel = Field(description="Namespace of Prometheus, which may scrape (X-17).")
    nodes: dict[DnsLabel, Node] = Field(
        min_length=1, description="Every node, by its kubernetes.io/hostname label (X-52)."
    )


class NodeSelection(Section):
    """Which nodes: those with a label, or those named. Exactly one of the two."""

    label: Text | None = Field(default=None, description="Label key that must exist on the node.")
    hostnames: tuple[DnsLabel, ...] = Field(default=(), description="Values of kubernetes.io/hostname.")


class Placement(Section):
    """Where the pods of one family may and should run."""

    require: NodeSelection | None = Field(default=None, description="Nodes the pods must run on.")
    prefer: NodeSelection | None = Field(default=None, description="Nodes the pods should run on (weight 100).")


class Placements(Section):
    """Placement per family (PG-08, PG-10, RD-04, WK-04, API-08)."""

    databases: Placement
    workloads: Placement


class Resources(Section):
    """CPU and memory of one kind."""

    cpu: Quantity
    memory: Memory


class Quota(Section):
    """ResourceQuota of the namespace (QT-01 to QT-03, X-09)."""

    requests: Resources
    limits: Resources
    persistent_volume_claims: Annotated[int, Field(ge=0)]
    pods: Annotated[int, Field(ge=1)]
    requests_storage: Memory


class ContainerLimits(Section):
    """LimitRange of the namespace, per container (QT-05)."""

    max: Resources
    min: Resources
    default: Resources = Field(description="Limit of a container that names none.")
    default_request: Resources = Field(description="Request of a container that names none.")


# --- Fabric ----------------------------------------------------------------------------------------------------------


class Endpoint(Section):
    """A TCP endpoint inside the cluster."""

    host: Fqdn
    port: Port


class Fabric(Section):
    """The Fabric network of the same environment, which this program uses and never changes (SD-01 to SD-04)."""

    namespace: DnsLabel = Field(description="Namespace of the Fabric network.")
    orderers: tuple[Endpoint, ...] = Field(description="Orderers, for transaction submission.")
    peers: tuple[Endpoint, ...] = Field(description="Peers, for chaincode calls and events.")
    certificate_authorities: tuple[Endpoint, ...] = Field(default=(), description="Fabric CAs, for enrolment.")
    manage_ingress_policy: bool = Field(
        description="Create the matching allow rule in the Fabric namespace, which another team owns (X-13)."
    )


# --- databases -------------------------------------------------------------------------------------------------------


class Postgres(Section):
    """PostgreSQL: one primary and streaming standbys (design decision 1, PG rows)."""

    replicas: Replicas = Field(description="Instances: one primary, the rest streaming standbys.")
    primary_ordinal: Annotated[int, Field(ge=0)] = Field(
        description="Ordinal of the instance that is the primary. Changing it is a switchover, or a failover when the "
        "old primary does not answer; postgres-primary follows (docs/runbooks/postgres-failover.md)."
    )
    accept_loss: tuple[str, ...] = Field(
        default=(),
        description="Instances, as postgres-0, whose commits a failover may give up because they do not answer. Only "
        "where it was refused without; removed when it is done.",
    )
    allow_bootstrap: bool = Field(
        description="Whether an empty volume may become a new, empty database. True for the first `up` only."
    )
    storage: Memory
    requests: Resources
    limits: Resources
    promotion_requests: Resources = Field(description="Requests of the Job's pod that makes an instance the primary.")
    promotion_limits: Resources = Field(description="Limits of the Job's pod that makes an instance the primary.")
    database: SqlName = Field(description="Name of the application's database (PG-16).")
    admin_user: SqlName = Field(description="Bootstrap superuser, for administration and migrations only (X-40).")
    max_connections: Annotated[int, Field(ge=20, le=5000)] = Field(
        description="Server-wide limit; must hold every client's pool (X-25)."
    )
    connections_per_pod: Annotated[int, Field(ge=1, le=100)] = Field(
        description="Pool of each worker and service pod (X-25)."
    )


class Redis(Section):
    """Redis: one master and replicas under Sentinel (design decision 2, RD rows)."""

    replicas: Replicas = Field(
        description=(
            "Instances: one master, the rest replicas. One instance runs without Sentinel. Replication is asynchronous:"
            " a failover loses what a master that was cut off acknowledged in its last 12 seconds at most, and a"
            " killed one what was under way (decision 31)."
        )
    )
    storage: Memory
    requests: Resources
    limits: Resources
    max_memory: Memory = Field(
        description="maxmemory; below the limit, with room for the copy-on-write of a fork (RD-13)."
    )
    sidecar_requests: Resources = Field(description="Requests of a sentinel container.")
    sidecar_limits: Resources = Field(description="Limits of a sentinel container.")
    proxy_replicas: Replicas = Field(description="HAProxy pods behind redis-master; unused with one instance.")
    proxy_requests: Resources
    proxy_limits: Resources


class Tls(Section):
    """Certificates of the databases, none of them secret; their keys are under ``secrets.tls`` (X-74)."""

    authority: Certificates = Field(
        description="What clients and standbys trust: the stack's own authority; while it is replaced, the old one too."
    )
    postgres: Certificate = Field(description="Certificate of every Postgres instance.")
    redis: Certificate = Field(description="Certificate of every Redis instance and sentinel.")

    def servers(self) -> dict[str, str]:
        """The servers' certificates, by the server."""
        return {"postgres": self.postgres, "redis": self.redis}


class BackupJob(Section):
    """The jobs around backups of one database: backup, restore test and restore, all of one size."""

    storage: Memory = Field(description="Volume of the backups (BK-04, BK-08).")
    requests: Resources
    limits: Resources


class PointInTime(BackupJob):
    """The write-ahead log of Postgres, archived as it is written, and base backups to replay it on (BK-18).

    The volume is the bound: it holds the base backups and the WAL since the oldest of them. When it is full the archive
    stops and says so, and the primary keeps the WAL within the bound of its own volume.
    """

    base_backup_schedule: CronSchedule = Field(description="When to take a base backup, in UTC.")
    keep: Annotated[int, Field(ge=2, le=100)] = Field(
        description="Base backups that are kept: any second since the oldest of them can be restored."
    )


class OffSite(Section):
    """An S3-compatible object store that backups are copied to, encrypted (S-05, X-56).

    Nothing is ever deleted there: give the bucket a lifecycle rule, and the key no right to delete.
    """

    endpoint: Url = Field(description="Endpoint of the store, as https://s3.eu-central-1.amazonaws.com.")
    region: Text
    bucket: Text
    networks: tuple[Cidr, ...] = Field(
        min_length=1, description="Addresses of the endpoint; the copying jobs may reach these and no others (NP-18)."
    )


class Backups(Section):
    """Scheduled backups and restore tests (BK rows). Absent where the data is not worth keeping."""

    schedule: CronSchedule = Field(description="When to back up, in UTC (BK-02, BK-06).")
    restore_test_schedule: CronSchedule = Field(
        description="When to restore the newest backups into scratch servers, in UTC (BK-15)."
    )
    keep: Annotated[int, Field(ge=2, le=1000)] = Field(description="Backups that are kept of each kind (BK-03, BK-07).")
    placement: Placement = Field(
        description="Nodes of the backups' volumes: not those of the databases, where there is a choice (X-56)."
    )
    postgres: BackupJob
    redis: BackupJob
    point_in_time: PointInTime | None = Field(
        default=None, description="Restores of Postgres to a second; absent means to a backup of the schedule alone."
    )
    off_site: OffSite | None = Field(
        default=None, description="Where copies go; absent means that the backups share the fate of their node."
    )

    def kinds(self) -> tuple[str, ...]:
        """What has a volume of its own and reports there: the backups of each database, base backups with the WAL."""
        return ("postgres", "redis", *(("postgres-base",) if self.point_in_time is not None else ()))


class Migration(Section):
    """What brings the schema to the state that the services' images expect, before they start (MIG rows)."""

    command: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="Migrates the schema; must be safe to run again, and good for the services' version before it."
    )
    seed: tuple[Text, ...] = Field(
        default=(), description="Then writes reference data; must be safe to run again. Empty for none."
    )
    requests: Resources
    limits: Resources

    def job_name(self, image: str, postgres_image: str, placement: Placement) -> str:
        """Name of the Job: a new image or command runs, one that has run does not run again (X-64).

        Everything of the pod that a stack file decides is in it: a Job's pod cannot be changed.
        """
        content = json.dumps([image, postgres_image, placement.model_dump(), self.model_dump()], sort_keys=True)
        return f"migration-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


# --- observability ---------------------------------------------------------------------------------------------------


class ObservabilityMode(StrEnum):
    """In which form Prometheus gets its configuration."""

    PLAIN = "plain"
    OPERATOR = "operator"


class Alerts(Section):
    """Whom alerts tell, by way of the Alertmanager that the cluster shares (AL-11). All of them are in Slack."""

    page: bool = Field(description="Critical alerts page at PagerDuty. In production alone.")
    heartbeat: bool = Field(
        description="Tell a service outside of the cluster every minute that alerts arrive; it calls when they do not."
    )
    email: Email | None = Field(default=None, description="Receiver of critical alerts; absent means none by mail.")
    secrets: Text = Field(
        description="Where the receivers' keys and addresses are, as pagerduty-key, slack-url and heartbeat-url: a"
        " directory that Alertmanager mounts, or with mode operator the name of a Secret in the stack's namespace."
    )


class Observability(Section):
    """Metrics and alerts for the Prometheus that the cluster shares (MON and AL rows). Absent for none."""

    mode: ObservabilityMode = Field(
        description="plain: a ConfigMap with scrape configuration and rules, in cluster.monitoringNamespace, for"
        " Prometheus to mount. operator: objects of the Prometheus Operator, whose CRDs must be there, in the stack's"
        " namespace."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of those objects, by which an operator or a sidecar finds them."
    )
    runbooks: Url = Field(description="Where docs/runbooks can be read; alerts link there.")
    cluster_alerts: bool = Field(
        description="Alert on the nodes and on the monitoring itself; true in exactly one stack of a cluster."
    )
    alerts: Alerts | None = Field(
        default=None, description="Whom alerts tell; absent means that Prometheus shows them."
    )
    exporter_requests: Resources = Field(description="Requests of each exporter's pod.")
    exporter_limits: Resources = Field(description="Limits of each exporter's pod.")


# --- workloads -------------------------------------------------------------------------------------------------------


class Worker(Section):
    """A CQRS worker (WK rows)."""

    replicas: Replicas
    requests: Resources
    limits: Resources
    fabric_access: bool = Field(description="May reach Fabric (X-12).")


class Service(Section):
    """An HTTP service, or the gateway (API and NPORT rows)."""

    replicas: Replicas
    port: Port = Field(description="Port of the container and of the ClusterIP Service.")
    node_port: NodePort | None = Field(
        default=None, description="NodePort for the Nginx of each node; unique in the whole cluster (X-05)."
    )
    path: UrlPrefix | None = Field(
        default=None, description="Path under which Nginx exposes the service; needs a NodePort."
    )
    requests: Resources
    limits: Resources
    fabric_access: bool = Field(description="May reach Fabric (X-12).")


# --- exposure, edge, DNS ---------------------------------------------------------------------------------------------


class Exposure(StrEnum):
    """What the public host name reaches (design decision 5)."""

    SERVICES = "services"
    GATEWAY = "gateway"
    BOTH = "both"


class JumpHost(Section):
    """A host that the nodes are reached through. It takes the same key as the nodes."""

    host: Text = Field(description="Name or address.")
    port: Port = 22
    user: Text = Field(description="Account on the jump host; it needs no rights but to open connections.")
    host_key: HostKey = Field(description="Pinned host key.")


class Ssh(Section):
    """How to reach the nodes over SSH."""

    user: Text = Field(description="Account that may run the provisioning scripts as root.")
    port: Port = 22
    agent: bool = Field(
        default=False,
        description="Log in with the operator's SSH agent, at $SSH_AUTH_SOCK, instead of secrets.sshPrivateKey.",
    )
    jump: JumpHost | None = Field(default=None, description="Jump host; absent means that the nodes are dialled.")
    host_keys: dict[DnsLabel, HostKey] = Field(
        description="Pinned host key of every edge node; with a firewall, of every node."
    )


class RateLimit(Section):
    """Rate limit per client address (NGX-07, NGX-08)."""

    requests_per_second: Annotated[int, Field(ge=1, le=10_000)]
    burst: Annotated[int, Field(ge=0, le=100_000)]


class Challenge(StrEnum):
    """How an edge node proves to the certificate authority that the name is its own (design decision 7)."""

    HTTP = "http-01"
    DNS = "dns-01"


class Acme(Section):
    """Certificates by ACME (TLS rows)."""

    challenge: Challenge = Field(
        default=Challenge.HTTP,
        description="http-01: a file on port 80, which any edge node serves or forwards. dns-01: a TXT record at"
        " Cloudflare, with secrets.acmeDnsToken on every edge node.",
    )
    directory: Url = Field(description="ACME directory URL.")
    email: Email = Field(description="Contact of the ACME account.")
    ca_bundle: Text | None = Field(
        default=None, description="CA bundle on the node to verify the ACME server with; absent for a public CA."
    )


class Monitor(Section):
    """Health monitor on each edge node (HM rows)."""

    interval: Duration
    timeout: Duration
    failures_before_alert: Annotated[int, Field(ge=1, le=60)]
    certificate_warning_days: Annotated[int, Field(ge=1, le=90)]
    email: Email | None = Field(default=None, description="Receiver of alerts; absent means the log alone.")


class NodePortAccess(StrEnum):
    """What happens to NodePort traffic from outside the cluster."""

    COUNT = "count"
    ENFORCE = "enforce"


class WebAccess(StrEnum):
    """Who may reach ports 80 and 443 of the nodes."""

    OPEN = "open"
    CLOUDFLARE = "cloudflare"


class Firewall(Section):
    """Host firewall of every node of the cluster (X-16, X-37). Packets to the SSH port always pass."""

    node_ports: NodePortAccess = Field(
        description="Traffic to 30000-32767 from outside the nodes and their pods: counted and logged, or dropped."
    )
    web: WebAccess = Field(
        description="Ports 80 and 443: open, or for Cloudflare's proxy, the nodes and their pods alone."
    )


class Edge(Section):
    """Public entry: Nginx, certificates and health monitor on the nodes (design decisions 5, 7 to 10)."""

    hostname: Fqdn = Field(description="Public host name.")
    nodes: tuple[DnsLabel, ...] = Field(min_length=1, description="Nodes that run Nginx.")
    expose: Exposure = Field(description="What the host name reaches: the services by path, the gateway, or both.")
    admin_allow: tuple[Cidr, ...] = Field(description="Networks that may reach /admin; empty closes it.")
    gateway_service: DnsLabel | None = Field(
        default=None, description="Service that answers at / when the gateway is exposed; needs a NodePort."
    )
    health_service: DnsLabel = Field(description="Service whose readiness answers /health (X-39).")
    upstream_host: IpAddress = Field(description="Address under which Nginx reaches NodePorts on its own node (X-33).")
    backup_by_peers: bool = Field(
        default=False,
        description="Ask another node's NodePort, at its internalIp, when the node's own fails. Plain HTTP from node to"
        " node: only where that network is private or encrypted.",
    )
    strip_prefix: bool = Field(
        default=False, description="Take a service's path away before the service is asked: /identity/users is /users."
    )
    origin_pull_ca: Certificates | None = Field(
        default=None,
        description="Certificates (PEM) by which Cloudflare's client certificate is known; absent means that none is"
        " asked for. Turn Authenticated Origin Pulls on at Cloudflare first.",
    )
    reprovision: dict[DnsLabel, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, description="Raise a node's number to run its provisioning again after drift."
    )
    ssh: Ssh
    acme: Acme
    rate_limit: RateLimit
    monitor: Monitor
    firewall: Firewall | None = Field(
        default=None, description="Host firewall of every node; in one stack of a cluster alone, absent in the others."
    )


class OriginState(StrEnum):
    """Whether a node stands in DNS."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class CloudflareRegion(StrEnum):
    """Regions of Cloudflare's network: https://developers.cloudflare.com/load-balancing/reference/region-mapping-api/."""

    WESTERN_NORTH_AMERICA = "WNAM"
    EASTERN_NORTH_AMERICA = "ENAM"
    WESTERN_EUROPE = "WEU"
    EASTERN_EUROPE = "EEU"
    NORTHERN_SOUTH_AMERICA = "NSAM"
    SOUTHERN_SOUTH_AMERICA = "SSAM"
    OCEANIA = "OC"
    MIDDLE_EAST = "ME"
    NORTHERN_AFRICA = "NAF"
    SOUTHERN_AFRICA = "SAF"
    SOUTHERN_ASIA = "SAS"
    SOUTH_EAST_ASIA = "SEAS"
    NORTH_EAST_ASIA = "NEAS"


class Steering(Section):
    """Whom an origin serves (CF-14 to CF-17)."""

    serves: tuple[CloudflareRegion, ...] = Field(description="Regions whose visitors come to this origin first.")
    then: tuple[DnsLabel, ...] = Field(description="The other origins, in the order they take over in.")


class LoadBalancing(Section):
    """Cloudflare Load Balancing, a paid add-on (CF-13): health checks, steering by region, failover by itself."""

    account_id: CloudflareId = Field(description="Identifier of the account, which owns pools and monitor.")
    regions: dict[DnsLabel, Steering] = Field(
        description="Every origin of dns.origins; the first serves who is in no region."
    )


class Dns(Section):
    """Cloudflare DNS of the public host name (CF rows). Failing over a region is one line under ``origins``."""

    zone: Fqdn = Field(description="Zone at Cloudflare.")
    zone_id: CloudflareId = Field(description="Identifier of the zone.")
    hostname: Fqdn = Field(description="Name of the A records.")
    proxied: Literal[True] = Field(description="Orange cloud. Unproxied records would publish the origins (CF-05).")
    origins: dict[DnsLabel, OriginState] = Field(
        min_length=1, description="Node by node: enabled or disabled. At least one stays enabled (CF-20)."
    )
    manage_zone_settings: bool = Field(description="Own the zone-wide SSL mode; true in exactly one stack (X-69).")
    load_balancing: LoadBalancing | None = Field(
        default=None, description="Load balancer in front of the records; absent means the records alone."
    )
    base_url: Url | None = Field(default=None, description="API endpoint; absent means Cloudflare itself.")


# --- images and secrets ----------------------------------------------------------------------------------------------


class Images(Section):
    """Every container image, in one place for promotion and digest updates."""

    postgres: ImageRef
    redis: ImageRef
    haproxy: ImageRef | None = Field(
        default=None, description="Proxy behind redis-master; needed with more than one Redis."
    )
    rclone: ImageRef | None = Field(
        default=None, description="Copies backups out of the cluster; needed with backups.offSite."
    )
    migration: ImageRef | None = Field(
        default=None, description="Carries the schema's migrations; needed with the key migration."
    )
    postgres_exporter: ImageRef | None = Field(
        default=None, description="prometheus-community/postgres_exporter 0.19; needed with observability."
    )
    redis_exporter: ImageRef | None = Field(
        default=None, description="oliver006/redis_exporter; needed with observability."
    )
    node_exporter: ImageRef | None = Field(
        default=None, description="Reads the reports of the backups; needed with observability and backups."
    )
    workloads: dict[DnsLabel, ImageRef] = Field(description="Image of every worker and service, by its name.")


class PostgresSecrets(Section):
    """Passwords of the database roles."""

    admin: SecretStr
    owner: SecretStr
    application: SecretStr
    replication: SecretStr
    backup: SecretStr
    exporter: SecretStr
    failover: SecretStr
    archive: SecretStr


class RedisSecrets(Section):
    """Passwords of the Redis users."""

    application: SecretStr
    replication: SecretStr
    sentinel: SecretStr
    backup: SecretStr
    exporter: SecretStr


class TlsSecrets(Section):
    """Private keys in PEM form: of the authority, which the program never reads, and of the servers."""

    authority_key: SecretStr
    postgres_key: SecretStr
    redis_key: SecretStr

    def servers(self) -> dict[str, SecretStr]:
        """The servers' keys, by the server."""
        return {"postgres": self.postgres_key, "redis": self.redis_key}


class OffSiteSecrets(Section):
    """What copies of backups need. Whoever loses the password has lost the copies: keep it outside of the cluster."""

    access_key_id: SecretStr
    secret_access_key: SecretStr
    password: SecretStr = Field(description="Encrypts the copies.")


class Secrets(Section):
    """Everything secret. Encrypted in the stack file; `make configure` generates what can be generated."""

    postgres: PostgresSecrets
    redis: RedisSecrets
    tls: TlsSecrets
    off_site: OffSiteSecrets | None = Field(default=None, description="Needed with backups.offSite.")
    fabric_credentials: dict[FileName, SecretStr] = Field(
        default_factory=dict,
        description="What workloads with fabricAccess show Fabric, as files of /etc/fabric by their names: connection"
        " profile, certificates and keys (WK-14). Empty where the images find them by themselves.",
    )
    cloudflare_api_token: SecretStr | None = Field(
        default=None, description="Token with DNS:Edit (and Zone Settings:Edit) on the zone."
    )
    acme_dns_token: SecretStr | None = Field(
        default=None,
        description="Token of certbot on the edge nodes with DNS:Edit on the zone and nothing more; for dns-01 alone.",
    )
    monitor_slack_url: SecretStr | None = Field(
        default=None, description="Incoming webhook of Slack that the health monitor tells; absent means none."
    )
    monitor_pagerduty_key: SecretStr | None = Field(
        default=None, description="Routing key (Events API v2) that the health monitor reports to; absent means none."
    )
    ssh_private_key: SecretStr | None = Field(
        default=None, description="Key of the provisioning account on the edge nodes; absent with edge.ssh.agent."
    )


# --- accepted findings ------------------------------------------------------------------------------------------------


class Acceptance(Section):
    """A finding of a proof that the operators know of and live with for a while."""

    reason: Text = Field(description="Why it is acceptable.")
    expires: IsoDate = Field(
        description="Last day, as 2027-03-31. After it the PR check and the nightly run fail; an update never does."
    )


class Settings(Section):
    """The whole stack file. ``edge`` and ``dns`` are absent in an environment without public exposure."""

    environment: Environment
    cluster: Cluster
    placement: Placements
    quota: Quota
    container_limits: ContainerLimits
    fabric: Fabric | None = None
    postgres: Postgres
    redis: Redis
    tls: Tls
    backups: Backups | None = None
    migration: Migration | None = None
    observability: Observability | None = None
    workers: dict[DnsLabel, Worker]
    services: dict[DnsLabel, Service]
    edge: Edge | None = None
    dns: Dns | None = None
    images: Images
    accepted: dict[DnsLabel, Acceptance] = Field(
        default_factory=dict, description="Findings of the proofs that are accepted, by the finding's name."
    )
    secrets: Secrets
