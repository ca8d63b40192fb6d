"""What workloads read at start: ConfigMaps shared by all of them, and keys of Secrets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as k8s
from pydantic import SecretStr

from components.base import Component, content_hash, owned
from components.tls import AUTHORITY, CLIENT_CONFIG
from settings.model import Endpoint, Fabric, LogLevel

FABRIC_CREDENTIALS = "fabric-credentials"
FABRIC_DIRECTORY = "/etc/fabric"
"""Where the workloads that may reach Fabric find what they show it."""


@dataclass(frozen=True, kw_only=True)
class ConfigSource:
    """A ConfigMap that pods read at their start, and the digest of its content."""

    name: pulumi.Input[str]
    digest: str


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """One key of a Secret, and the digest of its value: a changed password rolls the pods that read it."""

    name: pulumi.Input[str]
    key: str
    digest: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class SecretFiles:
    """A Secret that pods mount, and the digest of its content: a changed file rolls the pods that read it."""

    name: pulumi.Input[str]
    digest: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class ApplicationConfigArgs:
    """Arguments of ``ApplicationConfig``; plain but for the namespace.

    ``sentinels`` is what clients that speak Sentinel have to know; ``fabric_credentials`` are files by their names.
    """

    namespace: pulumi.Input[str]
    log_level: LogLevel
    authority: str
    fabric: Fabric | None
    sentinels: Mapping[str, str] = field(default_factory=dict)
    fabric_credentials: Mapping[str, SecretStr] = field(default_factory=dict)


class ApplicationConfig(Component):
    """The environment that workloads share: log level and sentinels for all, Fabric's endpoints for those it lets in.

    A ConfigMap each, so that a changed Fabric endpoint rolls no pod that does not read it. A third one is a file: what
    the databases' certificates are verified with.

    Attributes:
        application: Name of the ConfigMap that every workload reads.
        fabric: Name of the ConfigMap with Fabric's endpoints; None where there is no Fabric.
        fabric_credentials: Secret for the same workloads, to be mounted at ``FABRIC_DIRECTORY``; None without any.
        authority: ConfigMap with the databases' authorities, to be mounted at ``components.tls.CLIENT_DIRECTORY``.
    """

    area = "app"
    application: pulumi.Output[str]
    fabric: pulumi.Output[str] | None
    fabric_credentials: SecretFiles | None
    authority: ConfigSource

    def __init__(self, name: str, args: ApplicationConfigArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        common = {"LOG_LEVEL": args.log_level.value, **args.sentinels}
        self.application = self._config_map("application-config", common, args.namespace)
        self._common = ConfigSource(name=self.application, digest=content_hash(common))
        self.fabric = None
        self._fabric: ConfigSource | None = None
        if args.fabric is not None:
            endpoints = fabric_environment(args.fabric)
            self.fabric = self._config_map("fabric-endpoints", endpoints, args.namespace)
            self._fabric = ConfigSource(name=self.fabric, digest=content_hash(endpoints))
        self.fabric_credentials = self._credentials(args) if args.fabric_credentials else None
        authority = {AUTHORITY: args.authority}
        self.authority = ConfigSource(
            name=self._config_map(CLIENT_CONFIG, authority, args.namespace), digest=content_hash(authority)
        )
        self.register_outputs(
            {"application": self.application, "fabric": self.fabric, "authority": self.authority.name}
        )

    def sources(self, *, fabric_access: bool) -> tuple[ConfigSource, ...]:
        """What a workload reads. Raises ``ValueError`` for Fabric access where there is no Fabric."""
        if not fabric_access:
            return (self._common,)
        if self._fabric is None:
            raise ValueError(
                "fabricAccess without a Fabric network. Fix: set fabricAccess: false, or add the fabric key"
            )
        return (self._common, self._fabric)

    def _credentials(self, args: ApplicationConfigArgs) -> SecretFiles:
        files = {name: content.get_secret_value() for name, content in args.fabric_credentials.items()}
        secret = k8s.core.v1.Secret(
            self.child_name(FABRIC_CREDENTIALS),
            metadata=owned(FABRIC_CREDENTIALS, args.namespace),
            string_data=pulumi.Output.secret(files),
            opts=self.child(),
        )
        return SecretFiles(name=secret.metadata.name.apply(str), digest=pulumi.Output.secret(content_hash(files)))

    def _config_map(self, part: str, data: Mapping[str, str], namespace: pulumi.Input[str]) -> pulumi.Output[str]:
        config_map = k8s.core.v1.ConfigMap(
            self.child_name(part), metadata=owned(part, namespace), data=dict(data), opts=self.child()
        )
        name: pulumi.Output[str] = config_map.metadata.name.apply(str)
        return name


def fabric_environment(fabric: Fabric) -> dict[str, str]:
    """Fabric's endpoints as environment variables, each a comma-separated list of ``host:port`` (SD-01 to SD-03)."""
    lists = {
        "FABRIC_ORDERERS": fabric.orderers,
        "FABRIC_PEERS": fabric.peers,
        "FABRIC_CAS": fabric.certificate_authorities,
    }
    return {variable: _joined(endpoints) for variable, endpoints in lists.items()}


def _joined(endpoints: tuple[Endpoint, ...]) -> str:
    return ",".join(f"{endpoint.host}:{endpoint.port}" for endpoint in endpoints)
