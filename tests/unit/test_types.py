"""Good and bad values of every domain type of the stack file."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from settings import types

KEY = "A" * 68
DIGEST = "sha256:" + "0" * 64

GOOD: dict[str, list[object]] = {
    "DnsLabel": ["a", "srv1089618", "svc-identity", "0", "x" * 63],
    "Fqdn": ["api.gxcoin.money", "a.b", "orderer0-org0.fabric.svc.cluster.local"],
    "Quantity": ["500m", "2", "0.5", "512Mi", "100Gi", "1.5Gi", "1Ti", "3k", 2, 0.5],
    "ImageRef": [
        "docker.io/library/redis:7-alpine",
        f"ghcr.io/gx-protocol/svc-tax:1.2.3@{DIGEST}",
        "registry.local:5000/a/b_c:x",
    ],
    "Memory": ["512Mi", "100Gi", "1.5Gi", 1, "9" * 15],
    "LabelKey": ["environment", "gxcoin.money/why", "a_B.c-1", "x" * 63],
    "LabelValue": ["", "production", "a_B.c-1", "x" * 63],
    "Cidr": ["10.42.0.0/24", "0.0.0.0/0", "2001:db8::/32", "192.0.2.1/32"],
    "IpAddress": ["10.60.0.11", "127.0.0.1", "2001:db8::1"],
    "NodeIp": ["10.60.0.11", "72.60.210.201", "2001:db8::1", "100.64.0.1"],
    "PublicIpv4": ["72.60.210.201", "217.196.51.190"],
    "UrlPrefix": ["/identity", "/a", "/a-1"],
    "HostKey": [f"ssh-ed25519 {KEY}", f"ecdsa-sha2-nistp256 {KEY}==", f"ssh-rsa {KEY}"],
    "Email": ["ops@example.org", "a.b+c@d.example.org"],
    "CloudflareId": ["0123456789abcdef0123456789abcdef"],
    "Url": ["https://acme.example.org/dir", "http://10.60.0.20:8787/client/v4", "https://example.org"],
    "CronSchedule": ["0 */6 * * *", "0 0,6,12,18 * * *", "30 3 * * 0"],
    "Duration": ["60s", "10m", "6h", "7d"],
    "IsoDate": ["2027-03-31", "2028-02-29"],
    "Port": [1, 443, 65535],
    "NodePort": [30000, 30001, 32767],
    "Replicas": [1, 3, 50],
    "FileName": ["tls.key", "connection-profile.json", ".hidden", "x" * 253],
    "SqlName": ["gx_protocol", "_a", "x" * 63],
    "Text": ["root", "Kuala Lumpur", "Zürich", "x" * 253],
}

BAD: dict[str, list[object]] = {
    "DnsLabel": ["", "-a", "a-", "A", "a_b", "a.b", "x" * 64, "a\n"],
    "Fqdn": [
        "",
        "api",
        "api.",
        ".api",
        "API.example.org",
        "a..b",
        "a.b\n",
        "x" * 64 + ".a",
        ".".join(["abcdefg"] * 33),
    ],
    "Quantity": [
        "9" * 16,
        "1.0000000001",
        "\u0661Gi",
        "",
        "0",
        "0Mi",
        "-1",
        "1 Gi",
        "1GB",
        "1mi",
        "1e3",
        "one",
        "NaN",
        True,
        None,
        [1],
    ],
    "ImageRef": [
        "docker.io/library/redis:latest",
        f"docker.io/library/redis:latest@{DIGEST}",
        "docker.io/library/redis:7 alpine",
        f"docker.io/library/redis:7@{DIGEST}0",
        "",
        "redis",
        "redis:7",
        "docker.io/library/redis",
        f"docker.io/library/redis@{DIGEST}",
        "a/B:1",
        "a/b:1@sha256:0",
    ],
    "Memory": ["100m", "0.5m", "0Mi", "512MB", "1,5", "0.5Gib", "-1Gi", "1e", "9" * 16],
    "LabelKey": ["", "a b", "-a", "/a", "x" * 64, "é"],
    "LabelValue": ["a b", "-a", "a.", "x" * 64, "a\n"],
    "Cidr": ["", "10.42.0.1/24", "10.42.0.0/33", "10.42/16", "example.org"],
    "IpAddress": ["", "10.60.0", "10.60.0.256", "10.60.0.11/24", "localhost"],
    "NodeIp": ["", "10.0.0.300", "127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.0.1", "::1", "::"],  # noqa: S104
    "PublicIpv4": ["", "10.0.0.1", "127.0.0.1", "100.64.0.1", "192.0.2.10", "169.254.0.1", "0.0.0.0", "::1"],  # noqa: S104
    "UrlPrefix": ["", "/", "identity", "/identity/", "/a/b", "/A", "/a b", "/../a", "/a;}"],
    "HostKey": [
        "",
        "ssh-ed25519",
        f"host ssh-ed25519 {KEY}",
        f"ssh-dss {KEY}",
        "ssh-ed25519 AAAA",
        f"ssh-ed25519 {KEY} comment",
    ],
    "Email": ["", "ops", "ops@", "@example.org", "ops@example", "o ps@example.org"],
    "CloudflareId": ["", "gxcoin.money", "0" * 31, "0" * 33, "G" * 32, "A" * 32],
    "Url": [
        "",
        "example.org",
        "ftp://example.org",
        "https://",
        "https://a b",
        "file:///etc/passwd",
        "https://u:p@example.org",
    ],
    "CronSchedule": ["", "daily", "* * * *", "0 0 31 2 *", "60 * * * *", "0 0 * * * *"],
    "Duration": ["0s", "00m", "", "60", "1.5h", "-1s", "1 m", "1w", 60],
    "IsoDate": ["", "2027-3-31", "31.03.2027", "2027-02-29", 20270331],
    "Port": [0, -1, 65536, "443", 1.5, True],
    "NodePort": [29999, 32768, 8080, "30001"],
    "Replicas": [0, -1, 51, "3", 2.5],
    "FileName": ["", ".", "..", "..data", "msp/tls.key", "a b", "ü", "x" * 254],
    "SqlName": ["", "Gx", "a-b", "1a", "a b", "a;drop", "x" * 64],
    "Text": ["", "   ", "a\nb", "a\x00", "x" * 254],
}

TYPES: dict[str, Any] = {
    name: value for name, value in vars(types).items() if name[0].isupper() and hasattr(value, "__metadata__")
}


def cases(table: dict[str, list[object]]) -> list[Any]:
    return [
        pytest.param(TypeAdapter(TYPES[name]), value, id=f"{name}-{value!r}") for name in table for value in table[name]
    ]


def test_every_domain_type_has_good_and_bad_values() -> None:
    assert TYPES.keys() == GOOD.keys() == BAD.keys()


@pytest.mark.parametrize(("adapter", "value"), cases(GOOD))
def test_a_good_value_is_accepted_as_it_is(adapter: TypeAdapter[Any], value: object) -> None:
    assert str(adapter.validate_python(value)) == str(value)


@pytest.mark.parametrize(("adapter", "value"), cases(BAD))
def test_a_bad_value_is_refused_with_a_remedy(adapter: TypeAdapter[Any], value: object) -> None:
    with pytest.raises(ValidationError) as raised:
        adapter.validate_python(value)
    for error in raised.value.errors():
        assert error["type"] != "value_error" or ". Fix: " in error["msg"]


@pytest.mark.parametrize(
    ("quantity", "number"), [("500m", "0.5"), ("2", "2"), ("1Gi", "1073741824"), ("1.5Mi", "1572864"), ("1k", "1000")]
)
def test_a_quantity_is_worth_what_kubernetes_makes_of_it(quantity: str, number: str) -> None:
    assert types.amount(quantity) == Decimal(number)


def test_only_a_digest_pins_an_image() -> None:
    assert types.has_digest(f"docker.io/library/redis:7@{DIGEST}")
    assert not types.has_digest("docker.io/library/redis:7")
