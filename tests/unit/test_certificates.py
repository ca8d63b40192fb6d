"""The databases' certificates: what is issued, what a stack file is told about them, and who accepts them."""

import ssl
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from checks import certificates as proof
from checks.findings import Severity, judge
from settings import certificates
from settings.certificates import AUTHORITY, SERVER_DAYS, WARNING_DAYS, Pair
from settings.loader import SettingsError, load
from settings.model import Settings
from settings.stackfile import merge
from settings.wanted import wanted
from tests import stacks

NOW = datetime.now(UTC)
NAMESPACE = "backend-mainnet"
PRIMARY = f"postgres-primary.{NAMESPACE}.svc.cluster.local"


def handshake(pair: Pair, trusted: str, name: str, directory: Path) -> str:
    """Connect a client to a server in memory; what the client holds against it, or nothing."""
    (directory / "chain").write_text(pair.certificate)
    (directory / "key").write_text(pair.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(directory / "chain", directory / "key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(there, back, server_side=True)
    client = ssl.create_default_context(cadata=trusted).wrap_bio(back, there, server_hostname=name)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return ""


@pytest.mark.parametrize(
    "name",
    [
        PRIMARY,
        f"postgres-replica.{NAMESPACE}.svc.cluster.local",
        f"postgres-2.postgres-headless.{NAMESPACE}.svc.cluster.local",
        "postgres-primary",
    ],
)
def test_a_client_that_trusts_the_authority_accepts_the_server_under_each_of_its_names(
    name: str, tmp_path: Path
) -> None:
    assert handshake(stacks.server("postgres", NAMESPACE), stacks.authority().certificate, name, tmp_path) == ""


def test_a_client_refuses_another_name_another_authority_and_another_environment(tmp_path: Path) -> None:
    pair, trusted = stacks.server("postgres", NAMESPACE), stacks.authority().certificate
    assert "Hostname mismatch" in handshake(pair, trusted, "redis-master", tmp_path)
    testnet = PRIMARY.replace("mainnet", "testnet")
    assert "Hostname mismatch" in handshake(pair, trusted, testnet, tmp_path)
    other = certificates.new_authority("mainnet", NOW).certificate
    assert "unable to get local issuer" in handshake(pair, other, PRIMARY, tmp_path)


def test_both_authorities_are_trusted_while_one_takes_over(tmp_path: Path) -> None:
    new = certificates.new_authority("mainnet", NOW)
    both = stacks.authority().certificate + new.certificate
    later = certificates.new_server("postgres", NAMESPACE, authority=Pair(certificate=both, key=new.key), now=NOW)
    for pair in (stacks.server("postgres", NAMESPACE), later):
        assert handshake(pair, both, PRIMARY, tmp_path) == ""


def test_a_server_certificate_ends_with_its_authority_at_the_latest() -> None:
    then = NOW - timedelta(days=certificates.AUTHORITY_DAYS - 100)
    old = certificates.new_authority("mainnet", then)
    pair = certificates.new_server("redis", NAMESPACE, authority=old, now=NOW)
    assert certificates.ends(pair.certificate) == certificates.ends(old.certificate)
    whole = certificates.ends(stacks.server("redis", NAMESPACE).certificate) - NOW
    assert abs(whole - timedelta(days=SERVER_DAYS)) < timedelta(hours=1)


def test_nothing_is_issued_with_the_key_of_another_authority() -> None:
    other = certificates.new_authority("mainnet", NOW)
    mixed = Pair(certificate=stacks.authority().certificate, key=other.key)
    with pytest.raises(ValueError, match=r"not the key of a certificate under tls\.authority\. Fix: "):
        certificates.new_server("redis", NAMESPACE, authority=mixed, now=NOW)


def told(patch: dict[str, object]) -> list[str]:
    try:
        load(merge(stacks.complete("mainnet"), patch), stack="mainnet")
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_certificate_of_another_namespace_is_told() -> None:
    other = stacks.server("postgres", "backend-testnet")
    assert told({"tls": {"postgres": other.certificate}, "secrets": {"tls": {"postgresKey": other.key}}}) == [
        f"tls.postgres: does not cover *.postgres-headless.{NAMESPACE}.svc.cluster.local."
        " Fix: run `make configure STACK=mainnet`, which issues it anew"
    ]


def test_a_certificate_that_the_authority_has_not_signed_is_told() -> None:
    other = certificates.new_server("redis", NAMESPACE, authority=certificates.new_authority("mainnet", NOW), now=NOW)
    assert told({"tls": {"redis": other.certificate}, "secrets": {"tls": {"redisKey": other.key}}}) == [
        "tls.redis: no certificate under tls.authority has signed it."
        " Fix: run `make configure STACK=mainnet`, which issues it anew"
    ]


def test_a_key_of_another_certificate_is_told_and_not_shown() -> None:
    other = certificates.new_authority("mainnet", NOW).key
    lines = told({"secrets": {"tls": {"redisKey": other, "authorityKey": "canary"}}})
    assert [line.partition(". Fix")[0] for line in lines] == [
        "secrets.tls.redisKey: not the key of tls.redis",
        "secrets.tls.authorityKey: not the key of tls.authority",
    ]
    assert not [line for line in lines if "canary" in line or other.splitlines()[1] in line]


def test_an_encrypted_key_is_taken_for_good_without_the_passphrase() -> None:
    keys = {f"{name}Key": f"encrypted.secrets.tls.{name}Key" for name in ("authority", "postgres", "redis")}
    assert told({"secrets": {"tls": keys}}) == []


def test_a_server_certificate_in_the_place_of_the_authority_is_told() -> None:
    lines = told({"tls": {"authority": stacks.server("redis", NAMESPACE).certificate}})
    assert "tls.authority: holds a certificate that may sign no others" in lines[0]


def test_what_is_no_certificate_is_told_in_one_line() -> None:
    assert told({"tls": {"postgres": "-----BEGIN CERTIFICATE-----\nMIIB\n"}}) == [
        "tls.postgres: not a certificate in PEM form. Got '-----BEGIN CERTIFICATE-----\\nMIIB\\n'."
        " Fix: remove it and run `make configure STACK=mainnet`, which issues one"
    ]


def after(days: float) -> date:
    return (NOW + timedelta(days=days)).date()


@pytest.fixture
def mainnet() -> Settings:
    return stacks.settings("mainnet")


def test_certificates_are_reported_before_they_end_and_refused_after(mainnet: Settings) -> None:
    assert list(proof.find(mainnet, after(SERVER_DAYS - WARNING_DAYS))) == []
    soon = list(proof.find(mainnet, after(SERVER_DAYS - WARNING_DAYS + 1)))
    assert [(finding.name, finding.severity) for finding in soon] == [
        ("certificate-postgres", Severity.REPORT),
        ("certificate-redis", Severity.REPORT),
    ]
    assert "tls.postgres: ends in 29 days. Got " in str(soon[0])
    ended = list(proof.find(mainnet, after(SERVER_DAYS + 1)))
    assert {finding.severity for finding in ended} == {Severity.REFUSE}
    assert len(list(proof.find(mainnet, after(certificates.AUTHORITY_DAYS)))) == 3


def test_an_acceptance_of_the_end_of_a_certificate_ends_with_the_certificate() -> None:
    reason = {"reason": "it is replaced next week", "expires": "2099-12-31"}
    accepted = dict.fromkeys(("certificate-postgres", "certificate-redis"), reason)
    settings = load(merge(stacks.complete("mainnet"), {"accepted": accepted}))
    soon, over = (after(SERVER_DAYS + days) for days in (-1, 2))
    assert [judge(proof.find(settings, day), settings, day).refused == () for day in (soon, over)] == [True, False]


def test_an_ended_certificate_never_stands_between_an_operator_and_a_failover(mainnet: Settings) -> None:
    assert all(finding.resilience for finding in proof.find(mainnet, after(SERVER_DAYS + 1)))


def test_a_certificate_that_no_longer_serves_is_wanted_with_its_key_and_no_other() -> None:
    whole = stacks.complete("mainnet")

    def paths(patch: dict[str, object], now: datetime = NOW) -> list[str]:
        return [want.path for want in wanted(merge(whole, patch), now)]

    redis = ["secrets.tls.redisKey", "tls.redis"]
    assert paths({"tls": {"redis": None}}) == redis
    # What is missing comes last, so that a run which is cut short between the two is run again.
    assert paths({"secrets": {"tls": {"redisKey": None}}}) == redis[::-1]
    assert paths({"tls": {"redis": stacks.server("redis", "elsewhere").certificate}}) == redis
    assert paths({"secrets": {"tls": {"authorityKey": None}}}) == [f"tls.{AUTHORITY}", f"secrets.tls.{AUTHORITY}Key"]
    assert paths({}, NOW + timedelta(days=SERVER_DAYS - WARNING_DAYS + 1)) == [
        "secrets.tls.postgresKey",
        "tls.postgres",
        *redis,
    ]
