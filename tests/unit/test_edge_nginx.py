"""Nginx's configuration as it follows from the stack file. That Nginx takes it is tested on real hosts."""

import re

import pytest

from components.edge.nginx import cloudflare_ranges, nginx_step
from settings.model import Edge, Exposure, Service, Settings
from tests.stacks import settings

NODE = "srv1089618"


@pytest.fixture(scope="module")
def mainnet() -> Settings:
    return settings("mainnet")


def files(
    values: Settings, stack: str = "mainnet", services: dict[str, Service] | None = None, **edge: object
) -> dict[str, str]:
    assert values.edge is not None
    changed: Edge = values.edge.model_copy(update=edge)
    return dict(nginx_step(NODE, changed, values.cluster.nodes, services or values.services, stack).files)


def gateway(values: Settings) -> dict[str, Service]:
    service = values.services["api-gateway"].model_copy(update={"node_port": 30008})
    return {**values.services, "api-gateway": service}


def test_every_service_with_a_path_has_its_documented_upstream_and_location(mainnet: Settings) -> None:
    found = files(mainnet)
    for number, name in enumerate(
        ("identity", "admin", "tokenomics", "organization", "loanpool", "governance", "tax"), start=30001
    ):
        assert re.search(rf"upstream {name}_backend {{[^}}]*server 127\.0\.0\.1:{number} ", found["site/site.conf"])
        assert re.search(rf"location \^~ /{name}/ {{[^}}]*proxy_pass http://{name}_backend;", found["site/https.conf"])
        assert f"location = /{name} {{" in found["site/https.conf"]
    assert "wallet" not in found["site/site.conf"]


def test_another_stack_on_the_same_host_shares_no_name(mainnet: Settings) -> None:
    """Two sites with one zone or upstream name are refused by Nginx (X-34)."""

    def names(stack: str) -> set[tuple[str, ...]]:
        found = files(mainnet, stack)
        return set(
            re.findall(r"(?:^upstream (\w+)|zone=(\w+)|/log/nginx/(\S+)\.log)", "".join(found.values()), re.MULTILINE)
        )

    assert not {each for each in names("mainnet") & names("testnet") if each[2] not in {"access", "error"}}
    assert "SITE=api-testnet\n" in files(mainnet, "testnet")["settings.env"]
    assert "OWNS_HOST=no\n" in files(mainnet, "testnet")["settings.env"]


def test_admin_is_closed_until_networks_are_named(mainnet: Settings) -> None:
    assert "allow" not in files(mainnet)["site/admin-access.conf"]
    opened = files(mainnet, admin_allow=("192.0.2.0/24",))["site/admin-access.conf"].splitlines()
    assert opened[-2:] == ["allow 192.0.2.0/24;", "deny all;"]


@pytest.mark.parametrize("expose", [Exposure.GATEWAY, Exposure.BOTH])
def test_the_gateway_answers_at_the_root_and_admin_stays_closed(mainnet: Settings, expose: Exposure) -> None:
    https = files(mainnet, services=gateway(mainnet), expose=expose, gateway_service="api-gateway")["site/https.conf"]
    assert re.search(r"location / {[^}]*proxy_pass http://api_gateway_backend;", https)
    assert https.count("admin-access.conf") == 2
    # Nothing but the exact spelling leads anywhere, and that one to who restricts it.
    assert re.search(r"location \^~ /admin/ {[^}]*admin-access.conf", https)
    assert re.search(r"location ~\* \^/admin\(/\|\$\) {\s*return 404;", https)
    assert ("location ^~ /identity/" in https) is (expose is Exposure.BOTH)


def test_health_reaches_the_health_service_whatever_is_exposed(mainnet: Settings) -> None:
    found = files(mainnet, services=gateway(mainnet), expose=Exposure.GATEWAY, gateway_service="api-gateway")
    assert re.search(r"upstream health_backend {[^}]*server 127\.0\.0\.1:30001 max_fails=0;", found["site/site.conf"])
    assert "proxy_pass http://health_backend/readyz;" in found["site/https.conf"]


def test_a_failed_request_goes_to_the_same_port_again_or_to_the_other_nodes_and_health_to_neither(
    mainnet: Settings,
) -> None:
    def servers(site: str, upstream: str) -> list[str]:
        (block,) = re.findall(rf"upstream {upstream} {{([^}}]*)}}", site)
        return re.findall(r"server ([^;]*);", block)

    alone, backed = files(mainnet)["site/site.conf"], files(mainnet, backup_by_peers=True)["site/site.conf"]
    primary = "127.0.0.1:30007 max_fails=3 fail_timeout=30s"
    assert servers(alone, "tax_backend") == [primary, *["127.0.0.1:30007 max_fails=0 backup"] * 8]
    assert servers(backed, "tax_backend") == [primary, *(f"10.60.0.{n}:30007 max_fails=0 backup" for n in (12, 13) * 4)]
    assert servers(backed, "health_backend") == ["127.0.0.1:30001 max_fails=0"]
    assert "non_idempotent" not in "".join(files(mainnet).values())


def test_challenges_are_asked_of_every_other_edge_node_in_dns_or_not(mainnet: Settings) -> None:
    peers = re.findall(r"server ([\d.]+):80 ", files(mainnet)["site/site.conf"])
    assert peers == ["217.196.51.190", "72.61.81.3"]
    assert "@acme_peers" not in files(mainnet, nodes=(NODE,))["site/acme.conf"]


def test_the_clients_address_is_believed_from_cloudflare_alone(mainnet: Settings) -> None:
    trusted = re.findall(r"set_real_ip_from (\S+);", files(mainnet)["site/real-ip.conf"])
    assert trusted == list(cloudflare_ranges())
    assert {"104.16.0.0/13", "2606:4700::/32"} <= set(trusted)


def test_no_location_drops_the_security_headers(mainnet: Settings) -> None:
    """An ``add_header`` in a location hides those of the server unless the snippet is included again (X-38)."""
    for path, content in files(mainnet).items():
        for block in re.findall(r"location [^{]*{[^}]*}", content):
            if "add_header" in block:
                assert "headers.conf" in block, f"{path}: {block}"


def test_browsers_remember_https_for_long_in_mainnet_alone(mainnet: Settings) -> None:
    assert '"max-age=31536000; includeSubDomains; preload"' in files(mainnet)["site/headers.conf"]
    assert "preload" not in files(mainnet, "testnet")["site/headers.conf"]
