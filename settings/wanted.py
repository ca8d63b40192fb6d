"""What a stack file still misses that an operator has to supply. Pure: it looks at the file's config alone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from settings import certificates, types
from settings.model import Challenge, PostgresSecrets, RedisSecrets, Section


@dataclass(frozen=True, kw_only=True)
class Want:
    """One value to supply. ``checked`` returns it in canonical form or raises ``ValueError`` with the remedy."""

    path: str
    question: str
    checked: Callable[[str], str]
    secret: bool = False
    generated: bool = False


def wanted(config: Mapping[str, object], now: datetime) -> Iterator[Want]:
    """Everything a stack file misses, in the order to ask for it: the token before the zone it looks up.

    A certificate that no longer serves counts as missing, and its key with it.
    """
    yield from _nodes(config)
    yield from _passwords(config)
    yield from _certificates(config, now)
    yield from _off_site(config)
    yield from _edge(config)
    yield from _dns(config)
    yield from _images(config)


def at(config: Mapping[str, object], path: str) -> object:
    """The value at a path such as ``dns.zoneId``; None when there is none."""
    here: object = config
    for part in path.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def _nodes(config: Mapping[str, object]) -> Iterator[Want]:
    for name in _section(config, "cluster.nodes"):
        for field, question, checked in (
            ("internalIp", f"InternalIP of {name}, as `kubectl get nodes -o wide` shows it", types.ip_address),
            (
                "podCidr",
                f"Pod network of {name}, as `kubectl get node {name} -o jsonpath={{.spec.podCIDR}}`",
                types.cidr,
            ),
        ):
            path = f"cluster.nodes.{name}.{field}"
            if at(config, path) is None:
                yield Want(path=path, question=question, checked=checked)


def _passwords(config: Mapping[str, object]) -> Iterator[Want]:
    groups: tuple[tuple[str, type[Section]], ...] = (("postgres", PostgresSecrets), ("redis", RedisSecrets))
    for group, model in groups:
        for field in model.model_fields.values():
            path = f"secrets.{group}.{field.alias}"
            if at(config, path) is None:
                yield Want(path=path, question=f"Password {path}", checked=_text, secret=True, generated=True)


def _certificates(config: Mapping[str, object], now: datetime) -> Iterator[Want]:
    """The authority before what it signs; of a key and its certificate that one last which makes both wanted.

    Cut short between the two, it is missing still or no longer serves, and the next run makes both anew.
    """
    authority = at(config, "tls.authority")
    namespace = str(at(config, "environment.namespace"))
    for name, kind in (
        (certificates.AUTHORITY, certificates.certificates),
        *((server, certificates.certificate) for server in certificates.SERVICES),
    ):
        key, text = f"secrets.tls.{name}Key", at(config, f"tls.{name}")
        fits = text is not None and (
            name == certificates.AUTHORITY
            or _serves(str(text), str(authority), certificates.names(name, namespace), now)
        )
        if not fits or at(config, key) is None:
            both = (
                Want(path=key, question=f"Private key {key}", checked=_text, secret=True, generated=True),
                Want(path=f"tls.{name}", question=f"Certificate tls.{name}", checked=kind, generated=True),
            )
            yield from reversed(both) if at(config, key) is None else both


def _serves(text: str, authority: str, names: tuple[str, ...], now: datetime) -> bool:
    try:
        return (
            certificates.ends(text) - now >= timedelta(days=certificates.WARNING_DAYS)
            and not certificates.uncovered(text, names)
            and certificates.is_signed(text, authority)
        )
    except ValueError:
        return False


def _off_site(config: Mapping[str, object]) -> Iterator[Want]:
    if not _section(config, "backups.offSite"):
        return
    for key, question in (
        ("accessKeyId", "Access key of the bucket of the backups"),
        ("secretAccessKey", "Secret key of the bucket of the backups"),
    ):
        path = f"secrets.offSite.{key}"
        if at(config, path) is None:
            yield Want(path=path, question=question, checked=_text, secret=True)
    path = "secrets.offSite.password"
    if at(config, path) is None:
        yield Want(path=path, question=f"Password {path}", checked=_text, secret=True, generated=True)


def _edge(config: Mapping[str, object]) -> Iterator[Want]:
    if not _section(config, "edge"):
        return
    if at(config, "edge.ssh.user") is None:
        yield Want(path="edge.ssh.user", question="Account that may become root on the edge nodes", checked=_text)
    if at(config, "secrets.sshPrivateKey") is None and at(config, "edge.ssh.agent") is not True:
        yield Want(
            path="secrets.sshPrivateKey", question="File with that account's private key", checked=_text, secret=True
        )
    if at(config, "edge.ssh.jump") is not None and at(config, "edge.ssh.jump.hostKey") is None:
        question = "SSH host key of the jump host, as '<type> <base64>'"
        yield Want(path="edge.ssh.jump.hostKey", question=question, checked=types.host_key)
    # The firewall is every node's.
    nodes = at(config, "edge.nodes" if at(config, "edge.firewall") is None else "cluster.nodes")
    for name in nodes if isinstance(nodes, list | Mapping) else ():
        path = f"edge.ssh.hostKeys.{name}"
        if at(config, path) is None:
            yield Want(path=path, question=f"SSH host key of {name}, as '<type> <base64>'", checked=types.host_key)
    if at(config, "edge.acme.email") is None:
        yield Want(path="edge.acme.email", question="Contact of the certificates' ACME account", checked=types.email)


def _dns(config: Mapping[str, object]) -> Iterator[Want]:
    if not _section(config, "dns"):
        return
    zone = at(config, "dns.zone")
    if at(config, "edge.acme.challenge") == Challenge.DNS and at(config, "secrets.acmeDnsToken") is None:
        question = f"Cloudflare API token of certbot, with DNS:Edit on {zone} alone"
        yield Want(path="secrets.acmeDnsToken", question=question, checked=_text, secret=True)
    if at(config, "secrets.cloudflareApiToken") is None:
        question = f"Cloudflare API token with DNS:Edit and Zone Settings:Edit on {zone}"
        yield Want(path="secrets.cloudflareApiToken", question=question, checked=_text, secret=True)
    if at(config, "dns.zoneId") is None:
        yield Want(path="dns.zoneId", question=f"Identifier of the zone {zone}", checked=types.cloudflare_id)


def _images(config: Mapping[str, object]) -> Iterator[Want]:
    pinned = at(config, "environment.requireImageDigests") is True
    kinds = ("postgres", "redis", "haproxy", "postgresExporter", "redisExporter", "nodeExporter")
    names = [f"images.{kind}" for kind in kinds if at(config, f"images.{kind}") is not None]
    names += ["images.rclone"] if _section(config, "backups.offSite") else []
    names += ["images.migration"] if _section(config, "migration") else []
    names += [f"images.workloads.{name}" for family in ("workers", "services") for name in _section(config, family)]
    for path in names:
        image = at(config, path)
        if image is None or (pinned and not types.has_digest(str(image))):
            question = f"Image {path.removeprefix('images.').removeprefix('workloads.')}"
            question += f", {image} with its digest" if image else " as registry/name:tag"
            yield Want(path=path, question=question, checked=_pinned_image if pinned else types.image_ref)


def _pinned_image(value: str) -> str:
    if not types.has_digest(types.image_ref(value)):
        raise ValueError("not pinned to a digest. Fix: append @sha256:…, as the registry or the build shows it")
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("empty. Fix: give a value")
    return value


def _section(config: Mapping[str, object], path: str) -> Mapping[str, object]:
    found = at(config, path)
    return found if isinstance(found, Mapping) else {}
