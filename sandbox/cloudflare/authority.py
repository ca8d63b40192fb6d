"""The sandbox's own certificate authority: the proxy's certificate and the ACME server's.

Its certificate is `.sandbox/ca/edge-ca.pem`; clients in the sandbox trust it as browsers trust the public ones.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.layout import Layout
from sandbox.processes import SandboxError

_YEARS = timedelta(days=3650)
_LEAF = timedelta(days=365)
_CLOCK_SLACK = timedelta(hours=1)


def directory(layout: Layout) -> Path:
    """Where certificates that clients of the sandbox trust are kept."""
    return layout.runtime / "ca"


def certificate_path(layout: Layout) -> Path:
    """The authority's certificate."""
    return directory(layout) / "edge-ca.pem"


def ensure(layout: Layout) -> None:
    """Make the authority unless it exists."""
    if certificate_path(layout).exists():
        return
    directory(layout).mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gx sandbox edge authority")])
    certificate = (
        _builder(name, name, key.public_key(), _YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(_key_path(layout), key)
    certificate_path(layout).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def issue(layout: Layout, path: Path, names: Sequence[str]) -> None:
    """Write `<path>.pem` and `<path>.key`: a server certificate for host names, wildcards and addresses."""
    ensure(layout)
    issuer = x509.load_pem_x509_certificate(certificate_path(layout).read_bytes())
    issuer_key = serialization.load_pem_private_key(_key_path(layout).read_bytes(), None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise SandboxError(
            f"{_key_path(layout)} is not this sandbox's key. Fix: remove {directory(layout)}, start again"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), _LEAF)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_key(path.with_suffix(".key"), key)
    path.with_suffix(".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _key_path(layout: Layout) -> Path:
    return directory(layout) / "edge-ca.key"


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
