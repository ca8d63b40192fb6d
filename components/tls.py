"""The databases' certificates in the cluster: which object holds what, and where it is mounted (X-74)."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pydantic import SecretStr

from components.base import Component, owned
from settings.model import Settings

# The API server asks for the first two keys in a Secret of this type; the third is what a server trusts in its peers.
_TYPE = "kubernetes.io/tls"
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

CLIENT_DIRECTORY = "/etc/database-authority"
CLIENT_AUTHORITY = f"{CLIENT_DIRECTORY}/{AUTHORITY}"
"""File that every client verifies the databases with."""


@dataclass(frozen=True, kw_only=True)
class ServerTls:
    """A server's certificate and key, and the authorities that its peers' certificates are verified with."""

    certificate: str
    key: SecretStr
    authority: str

    @classmethod
    def of(cls, settings: Settings, server: str) -> "ServerTls":
        """What the stack file holds for a server, `postgres` or `redis`."""
        tls = settings.tls
        return cls(
            certificate=tls.servers()[server], key=settings.secrets.tls.servers()[server], authority=tls.authority
        )


def server_files(tls: ServerTls) -> dict[str, str]:
    """What a server reads, by the file's name."""
    return {CERTIFICATE: tls.certificate, KEY: tls.key.get_secret_value(), AUTHORITY: tls.authority}


def server_secret(component: Component, name: str, namespace: pulumi.Input[str], tls: ServerTls) -> pulumi.Output[str]:
    """Name of a new Secret with a server's files. Nothing rolls when it changes: the servers load it as they run."""
    secret = k8s.core.v1.Secret(
        component.child_name("tls"),
        metadata=owned(name, namespace),
        type=_TYPE,
        string_data=pulumi.Output.secret(server_files(tls)),
        opts=component.child(),
    )
    secret_name: pulumi.Output[str] = secret.metadata.name.apply(str)
    return secret_name


def server_volume(secret: pulumi.Input[str]) -> dict[str, Any]:
    """Volume `tls` of a server's pod: root's, and readable by the pod's group, as Postgres demands of a key."""
    return {"name": "tls", "secret": {"secret_name": secret, "default_mode": 0o440}}
