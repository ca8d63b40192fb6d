"""Domain types of the stack file: one pure validator each.

A validator returns the value in its canonical form or raises ``ValueError`` with a message of the form
``<what is wrong>. Fix: <remedy>``; the loader adds the path and the offending value.
"""

import ipaddress
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

# [0-9], not \d, which takes the digits of every script.
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"(?:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
# The API server counts up to 2^63.
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_BYTES = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(k|M|G|T|Ki|Mi|Gi|Ti)?")
_NEARLY_BYTES = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kmgt])i?b", re.IGNORECASE)
_QUANTITY_FACTOR = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}
# https://github.com/distribution/reference/blob/main/regexp.go, restricted to references with a tag.
_IMAGE = re.compile(
    r"([a-z0-9]+(?:[._-][a-z0-9]+)*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+)"
    r":([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})(?:@(sha256:[0-9a-f]{64}))?",
)
_HOST_KEY = re.compile(r"(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]{40,}={0,3}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_HEX32 = re.compile(r"[0-9a-f]{32}")
_URL_PREFIX = re.compile(r"/[a-z0-9][a-z0-9-]*")
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\s?#]*)?")
# https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data
_FILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_CRON_STEP = re.compile(r"/[0-9]+")
_SQL_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DURATION = re.compile(r"0*[1-9][0-9]{0,8}(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def dns_label(value: str) -> str:
    """RFC 1123 label, the form Kubernetes asks of most object names."""
    if not _DNS_LABEL.fullmatch(value):
        raise ValueError("not a DNS label. Fix: lower-case letters, digits and '-', at most 63, not '-' at an end")
    return value


def fqdn(value: str) -> str:
    """Fully qualified host name in lower case without the trailing dot."""
    labels = value.split(".")
    if len(labels) < 2 or len(value) > 253 or not all(_DNS_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a fully qualified host name. Fix: write it in full and lower case, as api.example.org")
    return value


def number_as_text(value: object) -> object:
    """A number as its text, so that ``cpu: 2`` in YAML is as good as ``cpu: "2"``."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def quantity(value: str) -> str:
    """Kubernetes resource quantity greater than zero.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    if not _QUANTITY.fullmatch(value):
        near = _NEARLY_BYTES.fullmatch(value)
        example = f"{near[1]}{near[2].upper()}i" if near else "500m, 2, 512Mi or 100Gi"
        raise ValueError(f"not a Kubernetes quantity. Fix: write it as {example}")
    if amount(value) == 0:
        raise ValueError("a quantity of zero. Fix: give the amount the container really needs")
    return value


def memory(value: str) -> str:
    """Kubernetes quantity of memory or storage. ``100m`` is a tenth of a byte there, and Kubernetes takes it."""
    if value.endswith("m") and _QUANTITY.fullmatch(value):
        raise ValueError(f"thousandths of a byte. Fix: write {value[:-1]}Mi or {value[:-1]}Gi")
    return quantity(value)


def label_key(value: str) -> str:
    """Key of a Kubernetes label, with or without a prefix."""
    if not _LABEL_KEY.fullmatch(value):
        raise ValueError("not a label's key. Fix: letters, digits, '-', '_' and '.', at most 63, as environment")
    return value


def label_value(value: str) -> str:
    """Value of a Kubernetes label."""
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError("not a label's value. Fix: letters, digits, '-', '_' and '.', at most 63, as production")
    return value


def amount(value: str) -> Decimal:
    """A valid quantity as a number: cores for CPU, bytes for memory and storage."""
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise ValueError("not a Kubernetes quantity. Fix: write it as 500m, 2, 512Mi or 100Gi")
    return Decimal(match[1]) * _QUANTITY_FACTOR[match[2] or ""]


def image_ref(value: str) -> str:
    """Image reference with registry, tag and, where pinned, a digest."""
    if not _IMAGE.fullmatch(value):
        raise ValueError(
            "not a full image reference. Fix: registry/name:tag@sha256:…, as docker.io/library/redis:7-alpine@sha256:…"
        )
    if value.partition("@")[0].endswith(":latest"):
        raise ValueError("a tag that names no version. Fix: take the tag of a release, as 7-alpine")
    return value


def has_digest(image: str) -> bool:
    """Whether an image reference is pinned to a digest."""
    return "@sha256:" in image


def cidr(value: str) -> str:
    """IPv4 or IPv6 network in canonical form."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("not a network in CIDR form. Fix: write it as 10.42.0.0/24, with no host bits set") from None


def ip_address(value: str) -> str:
    """IPv4 or IPv6 address in canonical form."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("not an IP address. Fix: write it as 192.0.2.10") from None


def node_ip(value: str) -> str:
    """Address under which the nodes reach each other."""
    address = ipaddress.ip_address(ip_address(value))
    nobodys = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_reserved
    if nobodys or address.is_link_local:
        raise ValueError(
            "no address that other nodes can reach. Fix: the node's InternalIP in `kubectl get nodes -o wide`"
        )
    return str(address)


def public_ipv4(value: str) -> str:
    """IPv4 address that can stand in a public A record."""
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError("not an IPv4 address. Fix: give the node's public IPv4 address") from None
    if not address.is_global:
        raise ValueError("not a public address. Fix: give the address that Cloudflare can reach") from None
    return str(address)


def url_prefix(value: str) -> str:
    """First path segment that Nginx routes to a service."""
    if not _URL_PREFIX.fullmatch(value):
        raise ValueError("not a path prefix. Fix: one segment in lower case with no slash at the end, as /identity")
    return value


def host_key(value: str) -> str:
    """SSH public host key as ``<type> <base64>``, as ``ssh-keyscan`` prints it after the host name."""
    if not _HOST_KEY.fullmatch(value):
        raise ValueError(
            "not an SSH host key. Fix: run `make configure STACK=…`, or take '<type> <base64>' from ssh-keyscan"
        )
    return value


def email(value: str) -> str:
    """E-mail address."""
    if not _EMAIL.fullmatch(value):
        raise ValueError("not an e-mail address. Fix: write it as ops@example.org")
    return value


def cloudflare_id(value: str) -> str:
    """Cloudflare zone or account identifier."""
    if not _HEX32.fullmatch(value):
        raise ValueError("not a Cloudflare identifier. Fix: run `make configure STACK=…`, or copy its 32 hex digits")
    return value


def url(value: str) -> str:
    """Absolute HTTP URL of an API endpoint."""
    if not _URL.fullmatch(value):
        raise ValueError("not an HTTP URL. Fix: write it in full, as https://acme.example.org/directory")
    return value


def duration(value: str) -> str:
    """Whole number of seconds, minutes, hours or days, above zero."""
    if not _DURATION.fullmatch(value):
        raise ValueError("not a duration. Fix: write it as 30s, 10m, 6h or 7d")
    return value


def seconds(value: str) -> int:
    """A valid duration in seconds."""
    return int(value[:-1]) * _SECONDS[value[-1]]


def cron_schedule(value: str) -> str:
    """Five cron fields that some moment satisfies, of the kinds that Kubernetes knows.

    https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
    """
    error = ValueError("not a cron schedule. Fix: write minute, hour, day, month and weekday, as '0 */6 * * *'")
    if len(value.split()) != 5:
        raise error
    try:
        next(CronSim(value, datetime(2027, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        raise error from None
    _, _, day, _, weekday = value.upper().split()
    if "L" in f"{day}{weekday}" or "#" in weekday or "7" in _CRON_STEP.sub("", weekday):
        raise ValueError("a schedule that Kubernetes refuses. Fix: no L and no #, and weekdays from 0, Sunday, to 6")
    return value


def iso_date(value: str) -> str:
    """Calendar date as ISO 8601 writes it."""
    if not _DATE.fullmatch(value):
        raise ValueError("not a date. Fix: write '2027-03-31', in quotes")
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("no day of the calendar. Fix: write '2027-03-31', in quotes") from None
    return value


def sql_name(value: str) -> str:
    """Name of a database or a role that needs no quotes in SQL, in a URL or in pg_hba.conf."""
    if not _SQL_NAME.fullmatch(value):
        raise ValueError("not a plain SQL name. Fix: lower-case letters, digits and '_', at most 63, as gx_protocol")
    return value


def file_name(value: str) -> str:
    """Name of a file that a ConfigMap or a Secret holds."""
    if not _FILE_NAME.fullmatch(value) or value == "." or value.startswith(".."):
        raise ValueError("not a file name. Fix: letters, digits, '.', '_' and '-', as connection.json")
    return value


def one_line(value: str) -> str:
    """Text without line breaks and control characters, which would end a line of a file it is written into."""
    if not value.isprintable():
        raise ValueError("more than one line, or a control character. Fix: write it on one line")
    return value


def _pattern(expression: re.Pattern[str], *also: str) -> WithJsonSchema:
    """What an editor can check of a type: its form, or that it is a number where ``also`` allows one."""
    return WithJsonSchema({"type": ["string", *also] if also else "string", "pattern": f"^(?:{expression.pattern})$"})


DnsLabel = Annotated[str, AfterValidator(dns_label), _pattern(_DNS_LABEL)]
Fqdn = Annotated[str, AfterValidator(fqdn)]
Quantity = Annotated[str, BeforeValidator(number_as_text), AfterValidator(quantity), _pattern(_QUANTITY, "number")]
ImageRef = Annotated[str, AfterValidator(image_ref), _pattern(_IMAGE)]
Memory = Annotated[str, BeforeValidator(number_as_text), AfterValidator(memory), _pattern(_BYTES, "number")]
LabelKey = Annotated[str, AfterValidator(label_key), _pattern(_LABEL_KEY)]
LabelValue = Annotated[str, AfterValidator(label_value), _pattern(_LABEL_VALUE)]
Cidr = Annotated[str, AfterValidator(cidr)]
IpAddress = Annotated[str, AfterValidator(ip_address)]
NodeIp = Annotated[str, AfterValidator(node_ip)]
PublicIpv4 = Annotated[str, AfterValidator(public_ipv4), WithJsonSchema({"type": "string", "format": "ipv4"})]
UrlPrefix = Annotated[str, AfterValidator(url_prefix), _pattern(_URL_PREFIX)]
HostKey = Annotated[str, AfterValidator(host_key), _pattern(_HOST_KEY)]
Email = Annotated[str, AfterValidator(email), _pattern(_EMAIL)]
CloudflareId = Annotated[str, AfterValidator(cloudflare_id), _pattern(_HEX32)]
CronSchedule = Annotated[str, AfterValidator(cron_schedule)]
Url = Annotated[str, AfterValidator(url), _pattern(_URL)]
Duration = Annotated[str, AfterValidator(duration), _pattern(_DURATION)]
IsoDate = Annotated[str, AfterValidator(iso_date), _pattern(_DATE)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
# The static half of the default range: ports here are never handed out dynamically.
NodePort = Annotated[int, Field(strict=True, ge=30000, le=32767)]
Replicas = Annotated[int, Field(strict=True, ge=1, le=50)]
FileName = Annotated[str, AfterValidator(file_name), _pattern(_FILE_NAME)]
SqlName = Annotated[str, AfterValidator(sql_name), _pattern(_SQL_NAME)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=253, strip_whitespace=True), AfterValidator(one_line)]
