"""DNS records and zone settings, against the sandbox's Cloudflare double."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from sandbox import layout as where
from sandbox.cloudflare import service
from sandbox.plugins.values import Json
from tests.conformance.program import Program, source

_SERVICES = "https://github.com/cloudflare/terraform-provider-cloudflare/tree/main/internal/services"
_ZONE = service.zone_id()

# Without the SDK: importing its classes takes longer than the run, and what is under test is the plugin.
_HEAD = """
import pulumi
cloudflare = pulumi.ProviderResource("cloudflare", "cloudflare", {{"apiToken": pulumi.Output.secret("{token}")}})
o = pulumi.ResourceOptions(provider=cloudflare)
def DnsRecord(resource, /, opts, **inputs):
    return pulumi.CustomResource("cloudflare:index/dnsRecord:DnsRecord", resource, inputs, opts)
def ZoneSetting(resource, /, opts, **inputs):
    return pulumi.CustomResource("cloudflare:index/zoneSetting:ZoneSetting", resource, inputs, opts)
"""


@pytest.fixture
def dns(program: Program) -> Iterator[Callable[[str], None]]:
    """Writes a program that declares Cloudflare resources with the options ``o``; they are destroyed afterwards."""

    def write(body: str) -> None:
        program.write_plain(_HEAD.format(token=service.token(where.current())) + body)

    yield write
    program.destroy()


@pytest.fixture
def host(program: Program) -> str:
    """A host name nobody else uses."""
    return f"{program.namespace}.gxcoin.money"


def calls(about: str) -> list[str]:
    """The requests to the API so far that name a host, a record or a setting, as ``METHOD path``."""
    lines = (service.directory(where.current()) / "journal.jsonl").read_text().splitlines()
    return [f"{call['method']} {call['path']}" for call in map(json.loads, filter(lambda line: about in line, lines))]


def record(host: str, address: str = "192.0.2.1", extra: str = "") -> str:
    return f"""
record = DnsRecord("record", zoneId="{_ZONE}", name="{host}", type="A", content="{address}",
                   ttl=1, proxied=True{extra}, opts=o)
"""


@source(f"{_SERVICES}/dns_record/resource.go (Create: POST)")
def test_a_record_is_created_by_one_request_and_then_left_alone(
    program: Program, dns: Callable[[str], None], host: str
) -> None:
    dns(record(host, extra=', comment="kept"'))
    assert program.planned() == {"create Stack": 1, "create cloudflare": 1, "create DnsRecord": 1}
    program.up().succeeded()
    assert calls(host) == [f"POST /zones/{_ZONE}/dns_records"]
    assert program.planned() == {}
    program.up().succeeded()
    assert len(calls(host)) == 1
    assert calls(program.resource("record")["id"]) == []


@source(f"{_SERVICES}/dns_record/resource.go (Update: PUT; Delete: DELETE) and schema.go (zone_id and type replace)")
def test_another_address_is_one_put_and_removal_one_delete(
    program: Program, dns: Callable[[str], None], host: str
) -> None:
    dns(record(host))
    program.up().succeeded()
    identifier = program.resource("record")["id"]
    dns(record(host, "192.0.2.2"))
    assert program.planned() == {"update DnsRecord": 1}
    program.up().succeeded()
    dns("")
    program.up().succeeded()
    path = f"/zones/{_ZONE}/dns_records/{identifier}"
    assert calls(identifier) == [f"PUT {path}", f"DELETE {path}"]


@source("https://github.com/pulumi/pulumi-cloudflare/issues/669 and dns_record/resource.go (Create)")
def test_a_proxied_record_with_a_ttl_passes_the_preview_and_fails_before_any_request(
    program: Program, dns: Callable[[str], None], host: str
) -> None:
    dns(record(host).replace("ttl=1", "ttl=300"))
    assert program.planned()["create DnsRecord"] == 1
    assert "ttl must be set to 1 when `proxied` is true" in program.up().failed()
    assert calls(host) == []


@source("https://developers.cloudflare.com/api/ (error 81058) and dns_record/resource.go: no overwrite")
def test_an_identical_record_is_refused_with_cloudflares_own_words(
    program: Program, dns: Callable[[str], None], host: str
) -> None:
    again = (
        record(host)
        .replace('"record"', '"again"')
        .replace("opts=o", "opts=pulumi.ResourceOptions(provider=cloudflare, depends_on=[record])")
    )
    dns(record(host) + again)
    assert "81058" in program.up().failed()


@source(f"{_SERVICES}/dns_record/resource.go (Read: 404 removes the resource)")
def test_a_refresh_sees_a_changed_record_and_a_deleted_one(
    program: Program, dns: Callable[[str], None], host: str
) -> None:
    dns(record(host))
    program.up().succeeded()
    identifier = program.resource("record")["id"]
    _api("PATCH", f"/zones/{_ZONE}/dns_records/{identifier}", {"content": "192.0.2.9"})
    assert program.planned() == {}
    program.refresh().succeeded()
    assert program.planned() == {"update DnsRecord": 1}
    _api("DELETE", f"/zones/{_ZONE}/dns_records/{identifier}", None)
    program.refresh().succeeded()
    assert program.planned() == {"create DnsRecord": 1}


@source(f"{_SERVICES}/dns_record/resource.go (ImportState: <zone_id>/<dns_record_id>)")
def test_a_record_that_exists_is_imported_by_zone_and_id(
    program: Program, dns: Callable[[str], None], host: str
) -> None:
    body = {"name": host, "type": "A", "content": "192.0.2.1", "ttl": 1, "proxied": True}
    identifier = _api("POST", f"/zones/{_ZONE}/dns_records", body)["id"]
    imported = f'pulumi.ResourceOptions(provider=cloudflare, import_="{_ZONE}/{identifier}")'
    dns(record(host).replace("opts=o", f"opts={imported}"))
    program.up().succeeded()
    assert {call.split()[0] for call in calls(identifier)} == {"GET"}
    assert program.planned() == {}


@source(f"{_SERVICES}/zone_setting/resource.go (Create and Update: PATCH; Delete: nothing but a warning)")
def test_a_zone_setting_is_patched_and_keeps_its_value_when_removed(
    program: Program, dns: Callable[[str], None]
) -> None:
    setting = f'ZoneSetting("setting", zoneId="{_ZONE}", settingId="tls_1_3", value="VALUE", opts=o)\n'
    path = f"/zones/{_ZONE}/settings/tls_1_3"
    before = len(calls("settings/tls_1_3"))
    dns(setting.replace("VALUE", "off"))
    program.up().succeeded()
    assert program.planned() == {}
    dns(setting.replace("VALUE", "on"))
    program.up().succeeded()
    dns("")
    output = program.up().succeeded()
    assert calls("settings/tls_1_3")[before:] == [f"PATCH {path}", f"PATCH {path}"]
    assert "will not change it in the API" in output


@source("https://www.pulumi.com/docs/iac/concepts/secrets/ (secrets are encrypted in the state)")
def test_the_api_token_is_not_in_the_state(program: Program, dns: Callable[[str], None], host: str) -> None:
    dns(record(host))
    printed = program.up("--diff").succeeded()
    assert service.token(where.current()) not in printed + program.state()


def _api(method: str, path: str, body: Json) -> Json:
    """A request somebody else makes, from the sandbox's internet."""
    layout = where.current()
    command = [
        *where.nsenter_argv(layout.netns(where.INTERNET)),
        *("curl", "-sS", "--fail-with-body", "-X", method, f"{where.CLOUDFLARE_API_URL}{path}"),
        *("-H", f"Authorization: Bearer {service.token(layout)}", "-H", "Content-Type: application/json"),
        *([] if body is None else ["--data", json.dumps(body)]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["result"]
