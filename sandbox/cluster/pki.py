"""The cluster's certificate authority, the certificates and the kubeconfigs it signs.

One authority serves clients and servers, as a development cluster's may. Users and groups are those Kubernetes' own
authorisers expect: https://kubernetes.io/docs/setup/best-practices/certificates/ and, for nodes,
https://kubernetes.io/docs/reference/access-authn-authz/node/.
"""

import base64
import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox import layout as where
from sandbox.layout import Layout

VALID_DAYS = 365

ADMIN = "admin"
CONTROLLER_MANAGER = "controller-manager"
SCHEDULER = "scheduler"
KUBE_PROXY = "kube-proxy"
KUBE_ROUTER = "kube-router"
API_SERVER = "apiserver"
SERVICE_ACCOUNTS = "service-accounts"


@dataclass(frozen=True)
class Authority:
    """A certificate authority and the directory its files are in. Keys are readable by root only."""

    directory: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_path(self) -> Path:
        """File with the authority's certificate."""
        return self.directory / "ca.crt"

    def issue(self, name: str, user: str, groups: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> None:
        """Write `<name>.crt` and `<name>.key` for a client, and for a server when hosts are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            _builder(x509.Name(subject), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        _write(self.directory, name, builder.sign(self.key, hashes.SHA256()), key)


def create(layout: Layout) -> None:
    """Write the authority, every certificate and every kubeconfig of the cluster. Existing files are replaced."""
    authority = _new_authority(layout.pki)
    authority.issue(
        API_SERVER,
        "kube-apiserver",
        hosts=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{where.CLUSTER_DOMAIN}",
            "localhost",
            "127.0.0.1",
            where.API_SERVICE_ADDRESS,
            where.CONTROL_PLANE_ADDRESS,
        ),
    )
    _write(layout.pki, SERVICE_ACCOUNTS, None, ec.generate_private_key(ec.SECP256R1()))
    users = {
        ADMIN: ("gx-operator", ("system:masters",)),
        CONTROLLER_MANAGER: ("system:kube-controller-manager", ()),
        SCHEDULER: ("system:kube-scheduler", ()),
        KUBE_PROXY: ("system:kube-proxy", ()),
        KUBE_ROUTER: ("system:kube-router", ()),
        **{node.name: (f"system:node:{node.name}", ("system:nodes",)) for node in where.NODES},
    }
    for name, (user, groups) in users.items():
        authority.issue(name, user, groups)
        target = layout.kubeconfig if name == ADMIN else kubeconfig_path(layout, name)
        _write_kubeconfig(target, authority, name)


def kubeconfig_path(layout: Layout, name: str) -> Path:
    """Kubeconfig of a component or node; the operator's is `layout.kubeconfig`."""
    return layout.pki / f"{name}.kubeconfig"


def _new_authority(directory: Path) -> Authority:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gx-backend-infra sandbox cluster")])
    builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(directory, "ca", certificate, key)
    return Authority(directory, certificate, key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(directory: Path, name: str, certificate: x509.Certificate | None, key: ec.EllipticCurvePrivateKey) -> None:
    if certificate is not None:
        (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path = directory / f"{name}.key"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _write_kubeconfig(path: Path, authority: Authority, name: str) -> None:
    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    context = where.KUBE_CONTEXT
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": where.API_URL,
                    "certificate-authority-data": inline(authority.certificate_path),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": inline(authority.directory / f"{name}.crt"),
                    "client-key-data": inline(authority.directory / f"{name}.key"),
                },
            }
        ],
    }
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
