"""Nginx's configuration of one stack on one node, rendered from the stack file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from components.edge.steps import SETTINGS_FILE, Step, settings_file
from components.templates import render
from settings.model import Edge, Exposure, Node, Service

PRIMARY_STACK = "mainnet"
"""The stack with the documented names, and the owner of what stacks on one host share (X-34, X-78)."""

STATUS_PORT = 8090
"""Loopback port of every edge host: ``/status`` has Nginx's counters, ``/release`` names the configuration in force."""

ADMIN_PATH = "/admin"

# A try more is another connection to the NodePort, which may lead to another pod. While kube-proxy does not know yet
# that one pod of three is lost, as many tries all meet that one once in 20,000 times.
_BACKUPS = 8
_DIRECTORY = Path(__file__).parent
_TEMPLATES = _DIRECTORY / "templates/nginx"
_HSTS = "max-age=31536000; includeSubDomains; preload"
# Browsers remember it; a host name under trial must be able to take it back.
_HSTS_TRIAL = "max-age=86400"


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A service as Nginx reaches it on its own node."""

    name: str
    address: str
    backups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path of the host name and the upstream that answers it."""

    path: str
    upstream: str
    restricted: bool
    gateway: bool = False


def nginx_step(node: str, edge: Edge, nodes: Mapping[str, Node], services: Mapping[str, Service], stack: str) -> Step:
    """The step that puts the configuration in force."""
    primary = stack == PRIMARY_STACK
    site = site_name(stack)
    prefix = "" if primary else f"{stack.replace('-', '_')}_"
    routes = _routes(edge, services, prefix)
    used = {route.upstream for route in routes}
    values: dict[str, object] = {
        "stack": stack,
        "site": site,
        "prefix": prefix,
        "hostname": edge.hostname,
        "upstreams": [
            Upstream(
                name=_upstream_name(name, prefix),
                address=f"{edge.upstream_host}:{service.node_port}",
                backups=_backups(node, edge, nodes, service),
            )
            for name, service in services.items()
            if service.node_port is not None and _upstream_name(name, prefix) in used
        ],
        "health_address": f"{edge.upstream_host}:{services[edge.health_service].node_port}",
        "tries": 1 + _BACKUPS,
        "strip_prefix": edge.strip_prefix,
        "origin_pull_ca": edge.origin_pull_ca.rstrip() if edge.origin_pull_ca else "",
        "routes": routes,
        "has_gateway": any(route.gateway for route in routes),
        "peers": [nodes[peer].public_ip for peer in edge.nodes if peer != node],
        "limit_zone": f"{prefix}client_limit",
        "rate": edge.rate_limit.requests_per_second,
        "burst": edge.rate_limit.burst,
        "hsts": _HSTS if primary else _HSTS_TRIAL,
        "admin_path": ADMIN_PATH,
        "admin_allow": edge.admin_allow,
        "cloudflare_ranges": cloudflare_ranges(),
        "status_port": STATUS_PORT,
    }
    return Step(
        title=f"Nginx of {edge.hostname}",
        script="nginx.sh",
        files={
            SETTINGS_FILE: settings_file(
                {
                    "STACK": stack,
                    "SITE": site,
                    "HOST_NAME": edge.hostname,
                    "OWNS_HOST": "yes" if primary else "no",
                    "STATUS_PORT": str(STATUS_PORT),
                }
            ),
            **{
                f"{folder}/{template.stem}": render(template, **values)
                for folder in ("host", "site")
                for template in sorted((_TEMPLATES / folder).glob("*.j2"))
            },
        },
    )


def site_name(stack: str) -> str:
    """Name of a stack's site: of its file below ``/etc/nginx/conf.d`` and of its logs."""
    return "api" if stack == PRIMARY_STACK else f"api-{stack}"


@cache
def cloudflare_ranges() -> tuple[str, ...]:
    """Networks of Cloudflare's proxy, as pinned beside this module."""
    lines = (_DIRECTORY / "cloudflare-ranges.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _routes(edge: Edge, services: Mapping[str, Service], prefix: str) -> list[Route]:
    """Routes by what is exposed. /admin is restricted whoever answers it (design decision 5)."""
    routes: list[Route] = []
    if edge.expose in {Exposure.SERVICES, Exposure.BOTH}:
        routes += [
            Route(path=service.path, upstream=_upstream_name(name, prefix), restricted=service.path == ADMIN_PATH)
            for name, service in services.items()
            if service.path is not None and service.node_port is not None
        ]
    if edge.expose in {Exposure.GATEWAY, Exposure.BOTH} and edge.gateway_service is not None:
        gateway = _upstream_name(edge.gateway_service, prefix)
        if not any(route.restricted for route in routes):
            routes.append(Route(path=ADMIN_PATH, upstream=gateway, restricted=True))
        routes.append(Route(path="/", upstream=gateway, restricted=False, gateway=True))
    return routes


def _backups(node: str, edge: Edge, nodes: Mapping[str, Node], service: Service) -> tuple[str, ...]:
    """Where a request goes that the node's NodePort failed: to other nodes, or there again, maybe to another pod."""
    hosts = [nodes[peer].internal_ip for peer in edge.nodes if peer != node] if edge.backup_by_peers else []
    return tuple(f"{host}:{service.node_port}" for host in islice(cycle(hosts or [edge.upstream_host]), _BACKUPS))


def _upstream_name(service: str, prefix: str) -> str:
    """Documented form of an upstream's name: svc-identity is identity_backend (NGX-03)."""
    return f"{prefix}{service.removeprefix('svc-').replace('-', '_')}_backend"
