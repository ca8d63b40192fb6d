"""Rules on the databases' certificates (X-74). When they end is a matter of the day: ``checks.certificates``."""

from collections.abc import Iterator

from settings import certificates
from settings.model import Environment, Secrets, Tls
from settings.problems import Problem

STAND_IN = "encrypted."
"""How the stand-in for an encrypted value begins, where a stack file is read without its passphrase."""

_ISSUE = "run `make configure STACK=…`, which issues it anew"


def authorities_may_sign(tls: Tls) -> Iterator[Problem]:
    """Clients refuse whatever is signed by a certificate that is none of an authority."""
    if not certificates.is_authority(tls.authority):
        yield Problem(
            "tls.authority",
            "holds a certificate that may sign no others",
            "keep certificates of authorities alone there: docs/runbooks/certificates.md",
        )


def certificates_are_what_clients_verify(tls: Tls, environment: Environment) -> Iterator[Problem]:
    """Each server's certificate holds every name it is reached under, and an authority of the stack has signed it."""
    for server, text in tls.servers().items():
        if text == certificates.STAND_IN:
            continue
        missing = certificates.uncovered(text, certificates.names(server, environment.namespace))
        if missing:
            yield Problem(f"tls.{server}", f"does not cover {missing[-1]}", _ISSUE)
        if not certificates.is_signed(text, tls.authority):
            yield Problem(f"tls.{server}", "no certificate under tls.authority has signed it", _ISSUE)


def keys_belong_to_their_certificates(tls: Tls, secrets: Secrets) -> Iterator[Problem]:
    """A server refuses to start with another certificate's key, and goes on with its old pair when it is running."""
    keys = secrets.tls.servers() | {certificates.AUTHORITY: secrets.tls.authority_key}
    for name, text in (tls.servers() | {certificates.AUTHORITY: tls.authority}).items():
        key = keys[name].get_secret_value()
        # Without the passphrase there is nothing to compare.
        if not key.startswith(STAND_IN) and not certificates.belongs(key, text):
            yield Problem(
                f"secrets.tls.{name}Key",
                f"not the key of tls.{name}",
                f"remove both and run `make configure STACK=…`, which issues {name} anew",
            )


RULES = (authorities_may_sign, certificates_are_what_clients_verify, keys_belong_to_their_certificates)
