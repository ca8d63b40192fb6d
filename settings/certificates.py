"""The stack's own certificate authority and the certificates of its databases (X-74). Pure: PEM in, PEM out.

Elliptic keys on P-256: every client and server of the platform knows them, a handshake costs a fraction of one with
RSA, and SCRAM can bind to their certificates, which it cannot with Ed25519.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import AfterValidator, WithJsonSchema

AUTHORITY = "authority"
AUTHORITY_DAYS = 20 * 365
SERVER_DAYS = 3 * 365
WARNING_DAYS = 30
"""From here on a certificate is reported, and `make configure` issues it anew."""

SERVICES = {
    "postgres": ("postgres-primary", "postgres-replica"),
    "redis": ("redis-master", "redis-replica", "redis-sentinel"),
}
"""The Services that clients connect to, by the server behind them."""

STAND_IN = Path(__file__).with_name("stand-in.pem").read_text(encoding="utf-8")
"""Stands where a stack file has no certificate yet, for the proofs. Nobody has its key, so that it serves nobody."""

# Clocks differ between whoever issues a certificate and the servers that get it.
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its private key, in PEM form."""

    certificate: str
    key: str


def certificates(value: str) -> str:
    """One or more certificates in PEM form, ended by a line break."""
    try:
        loaded(value)
    except ValueError:
        raise ValueError(
            "not a certificate in PEM form. Fix: remove it and run `make configure STACK=…`, which issues one"
        ) from None
    return value.strip() + "\n"


def certificate(value: str) -> str:
    """Exactly one certificate in PEM form, ended by a line break."""
    text = certificates(value)
    if len(loaded(text)) > 1:
        raise ValueError("more than one certificate. Fix: keep the server's own alone; authorities go to tls.authority")
    return text


Certificate = Annotated[
    str,
    AfterValidator(certificate),
    WithJsonSchema({"type": "string", "pattern": "^-----BEGIN CERTIFICATE-----"}),
]
Certificates = Annotated[
    str,
    AfterValidator(certificates),
    WithJsonSchema({"type": "string", "pattern": "^-----BEGIN CERTIFICATE-----"}),
]


@cache
def loaded(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text. Raises ``ValueError`` when there is none or one is malformed."""
    return tuple(x509.load_pem_x509_certificates(text.encode()))


def ends(text: str) -> datetime:
    """When the first certificate of a text that ends does so."""
    return min(each.not_valid_after_utc for each in loaded(text))


def names(server: str, namespace: str) -> tuple[str, ...]:
    """Every name under which an instance of a server is reached: its Services, and each instance by itself.

    A wildcard stands for the instances, so that a changed number of them needs no new certificate.
    """
    return tuple(
        f"{host}{suffix}"
        for host in (*SERVICES[server], f"*.{server}-headless")
        for suffix in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    )


def uncovered(text: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that a certificate does not hold, in their order."""
    try:
        found = loaded(text)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return wanted
    held = set(found.value.get_values_for_type(x509.DNSName))
    return tuple(name for name in wanted if name not in held)


def is_authority(text: str) -> bool:
    """Whether every certificate of a text may sign others."""
    try:
        return all(each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for each in loaded(text))
    except x509.ExtensionNotFound:
        return False


def is_signed(text: str, authorities: str) -> bool:
    """Whether one of the authorities has signed a certificate."""
    return any(_signed(loaded(text)[0], authority) for authority in loaded(authorities))


def belongs(key: str, text: str) -> bool:
    """Whether a private key is that of one of the certificates. False as well when it is no key in PEM form."""
    try:
        public = _private(key).public_key()
    except ValueError:
        return False
    return any(each.public_key() == public for each in loaded(text))


def new_authority(environment: str, now: datetime) -> Pair:
    """An authority that signs the certificates of one stack's databases, and nothing that others trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The date tells two authorities apart while one takes over from the other.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"databases of {environment}, {now.date()}")])
    builder = _builder(subject, key, now, now + timedelta(days=AUTHORITY_DAYS)).issuer_name(subject)
    signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(
        _usage(sign=True), critical=True
    )
    return _pair(signed.sign(key, hashes.SHA256()), key)


def new_server(server: str, namespace: str, *, authority: Pair, now: datetime) -> Pair:
    """A certificate for every instance of a server; ``authority.certificate`` may hold others beside the signer's.

    It ends with its authority at the latest. Raises ``ValueError`` when the key is that of none of the authorities.
    """
    signer_key = _private(authority.key)
    signer = next(
        (each for each in loaded(authority.certificate) if each.public_key() == signer_key.public_key()), None
    )
    if signer is None or not isinstance(signer_key, ec.EllipticCurvePrivateKey):
        raise ValueError(
            "secrets.tls.authorityKey: not the key of a certificate under tls.authority."
            " Fix: remove both and run `make configure` again; every certificate is then issued anew"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + timedelta(days=SERVER_DAYS), signer.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{server} of {namespace}")])
    builder = (
        _builder(subject, key, now, end)
        .issuer_name(signer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names(server, namespace)]), critical=False
        )
    )
    return _pair(builder.sign(signer_key, hashes.SHA256()), key)


def _private(key: str) -> PrivateKeyTypes:
    return serialization.load_pem_private_key(key.encode(), password=None)


def _signed(each: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        each.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(signed: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate=signed.public_bytes(serialization.Encoding.PEM).decode(), key=private.decode())
