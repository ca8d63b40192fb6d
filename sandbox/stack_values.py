"""What the sandbox puts in the place of what an operator configures: its images, keys, token and certificates."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox import images
from sandbox import layout as where
from sandbox.acme import service as acme
from sandbox.cloudflare import service as cloudflare
from sandbox.edge import service as edge
from sandbox.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values of the running sandbox.

    `images` gives the reference with digest for every `name:tag`; `host_keys` the SSH host key of every node as
    `<type> <base64>`; `ca_bundle` is the file, as the nodes see it, that the ACME server and
    what it issues are verified with.
    """

    images: Mapping[str, str]
    host_keys: Mapping[str, str]
    ssh_private_key: str
    zone_id: str
    api_token: str
    certbot_token: str
    ca_bundle: Path


def gather(layout: Layout) -> Values:
    """The values of this sandbox. Images that are missing are built; the Cloudflare double must have been started."""
    edge.ensure_keys(layout)
    return Values(
        images={ref: image.pinned for ref, image in images.ensure().items()},
        host_keys={node.name: edge.host_key(layout, node) for node in where.NODES},
        ssh_private_key=edge.operator_key(layout).read_text(encoding="utf-8"),
        zone_id=cloudflare.zone_id(),
        api_token=cloudflare.token(layout),
        certbot_token=cloudflare.token(layout, "certbot"),
        ca_bundle=acme.bundle_path(layout),
    )
