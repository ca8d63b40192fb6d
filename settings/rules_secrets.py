"""Rules on images and secrets. No message holds a secret's value."""

import re
from collections.abc import Iterator

from settings.model import (
    Backups,
    Challenge,
    Dns,
    Edge,
    Environment,
    Fabric,
    Images,
    Migration,
    Observability,
    Redis,
    Secrets,
    Service,
    Worker,
)
from settings.problems import Problem, shown
from settings.types import has_digest

SHORTEST_PASSWORD = 16
# RFC 3986, unreserved: a password stands in connection URLs and configuration files as it is.
_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]*")


def every_workload_has_an_image(
    images: Images, workers: dict[str, Worker], services: dict[str, Service]
) -> Iterator[Problem]:
    """Images and workloads name each other, one to one."""
    names = (*workers, *services)
    for name in names:
        if name not in images.workloads:
            yield Problem(
                f"images.workloads.{name}", "missing: the image of a workload", "run `make configure STACK=…`"
            )
    for name in images.workloads:
        if name not in names:
            yield Problem(f"images.workloads.{name}", "no worker or service of this stack", "remove it")


def images_are_pinned(images: Images, environment: Environment) -> Iterator[Problem]:
    """A tag can change its content between two roll-outs; a digest cannot."""
    if not environment.require_image_digests:
        return
    named: dict[str, str | None] = {
        field.alias or kind: getattr(images, kind)
        for kind, field in type(images).model_fields.items()
        if kind != "workloads"
    } | {f"workloads.{name}": image for name, image in images.workloads.items()}
    for name, image in named.items():
        if image is not None and not has_digest(image):
            yield Problem(
                f"images.{name}",
                "not pinned to a digest, which environment.requireImageDigests demands",
                "append @sha256:…, as `docker buildx imagetools inspect` prints it, or run `make configure STACK=…`",
                shown(image),
            )


def redis_proxy_has_an_image(images: Images, redis: Redis) -> Iterator[Problem]:
    """With more than one instance, clients reach the master through HAProxy (design decision 2)."""
    if redis.replicas > 1 and images.haproxy is None:
        yield Problem(
            "images.haproxy", f"missing with {redis.replicas} instances of Redis", "name the image of the proxy"
        )


def migration_has_an_image(images: Images, migration: Migration | None) -> Iterator[Problem]:
    """A migration is what an image holds."""
    if migration is not None and images.migration is None:
        yield Problem(
            "images.migration", "missing: gx-backend-infra:migration needs it", "run `make configure STACK=…`"
        )


def off_site_has_an_image_and_a_key(backups: Backups | None, images: Images, secrets: Secrets) -> Iterator[Problem]:
    """Copies leave by a tool of their own, encrypted, with a key to the store."""
    if backups is None or backups.off_site is None:
        return
    for path, value in (("images.rclone", images.rclone), ("secrets.offSite", secrets.off_site)):
        if value is None:
            yield Problem(path, "missing: backups.offSite needs it", "run `make configure STACK=…`")


def fabric_credentials_have_a_network(fabric: Fabric | None, secrets: Secrets) -> Iterator[Problem]:
    """Nobody could read them."""
    if secrets.fabric_credentials and fabric is None:
        yield Problem("secrets.fabricCredentials", "there is no Fabric network", "remove it, or add the fabric key")


def observability_has_images(
    observability: Observability | None, backups: Backups | None, images: Images
) -> Iterator[Problem]:
    """Each database has an exporter, and the backups' reports a reader."""
    if observability is None:
        return
    needed = {"images.postgresExporter": images.postgres_exporter, "images.redisExporter": images.redis_exporter}
    if backups is not None:
        needed["images.nodeExporter"] = images.node_exporter
    for path, image in needed.items():
        if image is None:
            yield Problem(path, "missing: gx-backend-infra:observability needs it", "name the image")


def dns_has_a_token(dns: Dns | None, secrets: Secrets) -> Iterator[Problem]:
    """Records need a Cloudflare token."""
    if dns is not None and secrets.cloudflare_api_token is None:
        yield Problem(
            "secrets.cloudflareApiToken", "missing: gx-backend-infra:dns needs it", "run `make configure STACK=…`"
        )


def dns_challenge_has_a_token(edge: Edge | None, dns: Dns | None, secrets: Secrets) -> Iterator[Problem]:
    """dns-01 writes a record with a token of its own: what lies on the nodes must not edit the zone's settings."""
    token, path = secrets.acme_dns_token, "secrets.acmeDnsToken"
    if edge is None or edge.acme.challenge is not Challenge.DNS:
        if token is not None:
            yield Problem(path, "given, and edge.acme.challenge is not dns-01", "remove one of the two")
    elif dns is None:
        yield Problem("edge.acme.challenge", "no gx-backend-infra:dns, whose zone holds the record", "take http-01")
    elif token is None:
        yield Problem(path, "missing: dns-01 needs it", "run `make configure STACK=…`")
    elif token == secrets.cloudflare_api_token:
        yield Problem(
            path,
            "the same as secrets.cloudflareApiToken, which can do more than certbot needs",
            "make one at Cloudflare with DNS:Edit on the zone alone",
        )


def edge_has_a_key(edge: Edge | None, secrets: Secrets) -> Iterator[Problem]:
    """Edge nodes are reached with an SSH key of the stack file or with the operator's agent, not with both."""
    if edge is None:
        return
    key = secrets.ssh_private_key
    if edge.ssh.agent:
        if key is not None:
            yield Problem(
                "secrets.sshPrivateKey", "given, and never used with edge.ssh.agent: true", "remove one of the two"
            )
        return
    if key is None:
        yield Problem(
            "secrets.sshPrivateKey", "missing: gx-backend-infra:edge needs it", "run `make configure STACK=…`"
        )
    elif "PRIVATE KEY-----" not in key.get_secret_value():
        yield Problem(
            "secrets.sshPrivateKey", "not a private key in PEM or OpenSSH form", "store the whole file, header included"
        )


def passwords_are_strong(secrets: Secrets) -> Iterator[Problem]:
    """Passwords are long, fit into a connection URL, and no role knows another's."""
    seen: dict[str, str] = {}
    for group, passwords in (("postgres", secrets.postgres), ("redis", secrets.redis)):
        for field, alias in ((name, str(info.alias)) for name, info in type(passwords).model_fields.items()):
            path = f"secrets.{group}.{alias}"
            password: str = getattr(passwords, field).get_secret_value()
            if len(password) < SHORTEST_PASSWORD:
                yield Problem(
                    path,
                    f"shorter than {SHORTEST_PASSWORD} characters",
                    "remove it and run `make configure STACK=…`, which generates one",
                )
            elif not _URL_SAFE.fullmatch(password):
                yield Problem(
                    path,
                    "has characters beyond letters, digits and -._~",
                    "remove it and run `make configure STACK=…`, which generates one",
                )
            if password in seen:
                yield Problem(path, f"the same as {seen[password]}", "give each role its own password")
            seen.setdefault(password, path)


RULES = (
    every_workload_has_an_image,
    images_are_pinned,
    redis_proxy_has_an_image,
    migration_has_an_image,
    off_site_has_an_image_and_a_key,
    fabric_credentials_have_a_network,
    observability_has_images,
    dns_has_a_token,
    dns_challenge_has_a_token,
    edge_has_a_key,
    passwords_are_strong,
)
