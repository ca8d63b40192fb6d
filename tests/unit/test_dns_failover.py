"""What ``DnsFailover`` registers, and that its light classes register what the generated SDK would."""

import subprocess
import sys
from pathlib import Path

import pulumi
import pulumi_cloudflare as cloudflare
import pytest

from components.cloudflare import cloudflare_provider
from components.dns_failover import DnsFailover, DnsFailoverArgs
from settings.model import CloudflareRegion, Dns, LoadBalancing, OriginState, Settings, Steering
from tests import capture
from tests.capture import Capture, Registered
from tests.stacks import settings

TOKEN = "canary-token"  # noqa: S105
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mainnet() -> Settings:
    return settings("mainnet")


ACCOUNT = "f" * 32
KUL, PHX, FRA = "srv1089618", "srv1089624", "srv1092158"
# CF-14 to CF-17: the document's countries by Cloudflare's regions; Asia fails over to Germany.
BALANCED = LoadBalancing(
    account_id=ACCOUNT,
    regions={
        KUL: Steering(serves=tuple(map(CloudflareRegion, ("SEAS", "NEAS", "OC", "SAS"))), then=(FRA, PHX)),
        PHX: Steering(serves=tuple(map(CloudflareRegion, ("WNAM", "ENAM", "NSAM", "SSAM"))), then=(FRA, KUL)),
        FRA: Steering(serves=tuple(map(CloudflareRegion, ("WEU", "EEU", "ME", "NAF", "SAF"))), then=(PHX, KUL)),
    },
)


def run(values: Settings, **changes: object) -> Capture:
    assert values.dns is not None
    dns: Dns = values.dns.model_copy(update=changes)

    def program() -> None:
        provider = cloudflare_provider(dns, TOKEN)
        args = DnsFailoverArgs(dns=dns, nodes=values.cluster.nodes, stack="mainnet")
        DnsFailover("dns", args, pulumi.ResourceOptions(providers=[provider]))

    return capture.run(program, stack="mainnet")


def by_name(found: Capture) -> dict[str, Registered]:
    return {record.name: record for record in found.of("DnsRecord")}


def test_every_enabled_origin_has_one_proxied_record_in_full_name(mainnet: Settings) -> None:
    assert {record.inputs["content"] for record in by_name(run(mainnet)).values()} == {
        "72.60.210.201",
        "217.196.51.190",
        "72.61.81.3",
    }
    for record in by_name(run(mainnet)).values():
        expected = {"name": "api.gxcoin.money", "type": "A", "proxied": True, "ttl": 1}
        assert record.inputs.items() >= expected.items()


def test_disabling_an_origin_takes_its_record_away_and_leaves_the_others_as_they_are(mainnet: Settings) -> None:
    assert mainnet.dns is not None
    origins = {**mainnet.dns.origins, "srv1089618": OriginState.DISABLED}
    before, after = by_name(run(mainnet)), by_name(run(mainnet, origins=origins))
    assert before.keys() - after.keys() == {"dns-srv1089618"}
    assert {name: before[name].inputs for name in after} == {name: record.inputs for name, record in after.items()}


def test_no_record_waits_for_any_resource_but_its_provider(mainnet: Settings) -> None:
    """A failover must work with the node and the Kubernetes API gone."""
    for record in by_name(run(mainnet)).values():
        assert record.dependencies == ()


def test_the_ssl_mode_is_strict_in_the_one_stack_that_owns_it(mainnet: Settings) -> None:
    setting = run(mainnet).of("ZoneSetting")[0]
    assert (setting.inputs["settingId"], setting.inputs["value"]) == ("ssl", "strict")
    assert not run(mainnet, manage_zone_settings=False).has("ZoneSetting")


def test_the_token_reaches_the_engine_encrypted(mainnet: Settings) -> None:
    assert "apiToken" in run(mainnet).of("cloudflare")[0].secrets


def test_the_light_classes_register_what_the_sdk_registers(mainnet: Settings) -> None:
    """They stand in for a generated SDK that takes seconds to import; types, inputs and version must be the SDK's."""
    assert mainnet.dns is not None
    dns = mainnet.dns.model_copy(update={"base_url": "http://192.0.2.1/client/v4"})

    def with_sdk() -> None:
        provider = cloudflare.Provider("cloudflare", api_token=TOKEN, base_url=dns.base_url)
        options = pulumi.ResourceOptions(provider=provider)
        for node in dns.origins:
            cloudflare.DnsRecord(
                f"dns-{node}",
                zone_id=dns.zone_id,
                name=dns.hostname,
                type="A",
                content=mainnet.cluster.nodes[node].public_ip,
                proxied=True,
                ttl=1,
                comment=f"{node}, managed by Pulumi stack mainnet",
                opts=options,
            )
        cloudflare.ZoneSetting("dns-ssl", zone_id=dns.zone_id, setting_id="ssl", value="strict", opts=options)

    def shape(found: Capture) -> list[tuple[str, str, dict[str, object], frozenset[str]]]:
        return sorted((r.type, r.name, r.inputs, r.secrets) for r in found.resources if r.custom)

    assert shape(run(mainnet, base_url=dns.base_url)) == shape(capture.run(with_sdk, stack="mainnet"))


def test_a_load_balancer_steers_by_region_and_fails_over_in_the_given_order(mainnet: Settings) -> None:
    found = run(mainnet, load_balancing=BALANCED)
    identifier = {r.inputs["origins"][0]["name"]: f"{r.name}-id" for r in found.of("LoadBalancerPool")}
    (balancer,) = found.of("LoadBalancer")
    asia = [identifier[node] for node in (KUL, FRA, PHX)]
    assert balancer.inputs["regionPools"]["SEAS"] == balancer.inputs["regionPools"]["OC"] == asia
    assert balancer.inputs["regionPools"]["WEU"] == [identifier[node] for node in (FRA, PHX, KUL)]
    assert len(balancer.inputs["regionPools"]) == len(CloudflareRegion)
    assert balancer.inputs["fallbackPool"] == identifier[KUL]
    assert (balancer.inputs["steeringPolicy"], balancer.inputs["sessionAffinity"]) == ("geo", "none")
    (monitor,) = found.of("LoadBalancerMonitor")
    assert monitor.inputs["header"] == {"Host": ["api.gxcoin.money"]}
    assert (monitor.inputs["type"], monitor.inputs["path"], monitor.inputs["interval"]) == ("https", "/health", 60)
    assert not run(mainnet).has("LoadBalancer")


def test_draining_a_region_disables_its_pool_and_leaves_the_balancer_as_it_is(mainnet: Settings) -> None:
    """A pool that is taken away must first leave every list; one that is disabled is passed over at once."""
    assert mainnet.dns is not None
    origins = {**mainnet.dns.origins, KUL: OriginState.DISABLED}
    before = run(mainnet, load_balancing=BALANCED)
    after = run(mainnet, load_balancing=BALANCED, origins=origins)
    old = {r.name: r.inputs for r in before.resources if r.custom}
    new = {r.name: r.inputs for r in after.resources if r.custom}
    assert old.keys() - new.keys() == {f"dns-{KUL}"}
    assert {name for name in new if new[name] != old[name]} == {f"dns-pool-{KUL}"}
    assert new[f"dns-pool-{KUL}"]["enabled"] is False


def test_load_balancing_registers_what_the_sdk_registers(mainnet: Settings) -> None:
    assert mainnet.dns is not None
    dns = mainnet.dns.model_copy(update={"origins": {KUL: OriginState.ENABLED}, "manage_zone_settings": False})
    one = LoadBalancing(account_id=ACCOUNT, regions={KUL: Steering(serves=(CloudflareRegion("OC"),), then=())})

    def with_sdk() -> None:
        options = pulumi.ResourceOptions(provider=cloudflare.Provider("cloudflare", api_token=TOKEN))
        monitor = cloudflare.LoadBalancerMonitor(
            "dns-monitor",
            account_id=ACCOUNT,
            type="https",
            method="GET",
            path="/health",
            expected_codes="200",
            interval=60,
            timeout=5,
            retries=2,
            header={"Host": [dns.hostname]},
            description="api.gxcoin.money, managed by Pulumi stack mainnet",
            opts=options,
        )
        pool = cloudflare.LoadBalancerPool(
            f"dns-pool-{KUL}",
            account_id=ACCOUNT,
            name=f"mainnet-{KUL}",
            origins=[cloudflare.LoadBalancerPoolOriginArgs(name=KUL, address="72.60.210.201", enabled=True)],
            monitor=monitor.id,
            enabled=True,
            description="managed by Pulumi stack mainnet",
            opts=options,
        )
        cloudflare.LoadBalancer(
            "dns-balancer",
            zone_id=dns.zone_id,
            name=dns.hostname,
            proxied=True,
            steering_policy="geo",
            default_pools=[pool.id],
            fallback_pool=pool.id,
            region_pools={"OC": [pool.id]},
            session_affinity="none",
            adaptive_routing=cloudflare.LoadBalancerAdaptiveRoutingArgs(failover_across_pools=True),
            description="managed by Pulumi stack mainnet",
            opts=options,
        )

    def shape(found: Capture) -> list[tuple[str, str, dict[str, object]]]:
        return sorted((r.type, r.name, r.inputs) for r in found.resources if "/loadBalancer" in r.type)

    light = run(mainnet, load_balancing=one, origins=dns.origins, manage_zone_settings=False)
    assert len(shape(light)) == 3
    assert shape(light) == shape(capture.run(with_sdk, stack="mainnet"))


def test_importing_the_component_does_not_import_the_sdk() -> None:
    check = "import sys, components.dns_failover; sys.exit('pulumi_cloudflare' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
