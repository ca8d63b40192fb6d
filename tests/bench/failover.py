"""DNS failover with the node black-holed, beside a bare program of one record and a bare DELETE.

It runs on a copy of the deployed stack's state whose records have another host name. So all of the stack's
resources take part, while the deployed records, objects and hosts stay untouched; the node is cut off for the seconds
that it takes.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox import layout as where
from sandbox.cloudflare import service as cloudflare
from sandbox.stacks import render
from settings import stackfile
from settings.stackfile import PROJECT, ROOT
from tests.bench.engine import BIN, LAYOUT, BenchError, Engine, decrypted, deployed_state, run, write_config
from tests.bench.states import registered, settled
from tests.bench.timing import Amount, Comparison, Figure, interleaved, seconds

STACK = "mainnet"
NODE = "srv1089624"
GOAL_SECONDS = 15
_DNS_TYPE = "cloudflare:index/dnsRecord:DnsRecord"
_BARE = "gx-one-record"
_BARE_PROJECT = """\
name: {name}
runtime: {{name: python, options: {{toolchain: pip, virtualenv: {virtualenv}}}}}
"""
_BARE_PROVIDER = """\
import pulumi
import pulumi_cloudflare as cloudflare

provider = cloudflare.Provider("cloudflare", api_token=pulumi.Output.secret({token!r}), base_url={url!r})
"""
_BARE_RECORD = """\
cloudflare.DnsRecord("one", zone_id={zone!r}, name={name!r}, type="A", content="203.0.113.2", proxied=True, ttl=1,
                     opts=pulumi.ResourceOptions(provider=provider))
"""


def measure(directory: Path, runs: int) -> tuple[Figure, ...]:
    """Seconds of ``pulumi up`` with one origin disabled, with and without its preview, of the bare one, and of DELETE.

    Leaves no record behind.
    """
    directory.mkdir(exist_ok=True)
    engine = Engine(directory / "failover")
    engine.create(PROJECT, STACK)
    rendered = render(STACK)
    hostname = f"bench.{_section(rendered, 'dns')['zone']}"
    dns = {"hostname": hostname, "manageZoneSettings": False}
    # A stack's edge and DNS must agree; the copied state says that the hosts are provisioned so already.
    healthy = write_config(directory / "healthy.yaml", rendered, {"edge": {"hostname": hostname}, "dns": dns})
    failed = write_config(directory / "failed.yaml", healthy, {"dns": {"origins": {NODE: "disabled"}}})
    known = deployed_state(STACK, "--show-secrets")
    state = settled(STACK, registered(STACK, decrypted(engine, STACK, healthy)), known)
    origins = len(_section(rendered, "dns")["origins"])
    state["deployment"]["resources"] = list(_without_records(state["deployment"]["resources"]))
    engine.load(PROJECT, STACK, state)
    planned = _planned(engine, healthy)
    if planned != {f"create {_DNS_TYPE}": origins}:
        raise BenchError(f"not measured: more than the records would change: {dict(planned)}")

    def up(config: Path, *flags: str) -> None:
        engine.pulumi("up", "--stack", STACK, "--config-file", config, "--yes", "--suppress-outputs", *flags)

    def failed_over(*flags: str) -> float:
        with _cut_off():
            taken = seconds(lambda: up(failed, *flags))
        up(healthy, "--skip-preview")
        return taken

    def floor() -> float:
        record = {"type": "A", "name": hostname, "content": "203.0.113.1", "proxied": True, "ttl": 1}
        identity = _api("POST", "", record)["id"]
        return seconds(lambda: _api("DELETE", f"/{identity}"))

    try:
        up(healthy)
        bare_failed_over = _bare(engine, directory / "bare", hostname)
        taken, one, unseen, deleted = interleaved(
            runs, failed_over, bare_failed_over, lambda: failed_over("--skip-preview"), floor
        )
    finally:
        for record in _api("GET", f"?name={hostname}"):
            _api("DELETE", f"/{record['id']}")
    return (
        Amount(title="DNS failover with the node black-holed: `pulumi up`", values=taken, goal=GOAL_SECONDS),
        Comparison(title="… against that of a bare program with one record", ours=taken, floor=one),
        Amount(title="… with `--skip-preview`", values=unseen, goal=GOAL_SECONDS),
        Amount(title="… beside a bare DELETE of a record by `curl`", values=deleted),
    )


def _bare(engine: Engine, directory: Path, hostname: str) -> Callable[[], float]:
    """A program of one record, deployed; what is returned takes the record away, timed, and makes it again."""
    directory.mkdir(mode=0o700)
    (directory / "Pulumi.yaml").write_text(_BARE_PROJECT.format(name=_BARE, virtualenv=ROOT / ".venv"))
    provider = _BARE_PROVIDER.format(token=cloudflare.token(LAYOUT), url=where.CLOUDFLARE_API_URL)
    whole = provider + _BARE_RECORD.format(zone=cloudflare.zone_id(), name=hostname)
    engine.create(_BARE, STACK)

    def up(program: str, *flags: str) -> None:
        (directory / "__main__.py").write_text(program)
        engine.pulumi("up", "--stack", STACK, "--yes", "--suppress-outputs", *flags, cwd=directory)

    def failed_over() -> float:
        taken = seconds(lambda: up(provider))
        up(whole, "--skip-preview")
        return taken

    up(whole)
    return failed_over


def _without_records(resources: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The resources without the DNS records, and nothing that refers to what is not there."""
    kept = {each["urn"]: each for each in resources if each["type"] != _DNS_TYPE}
    for each in kept.values():
        dependencies = [urn for urn in each.get("dependencies", []) if urn in kept]
        yield {**each, "dependencies": dependencies, "propertyDependencies": {}}


def _section(rendered: Path, name: str) -> dict[str, Any]:
    found = stackfile.config(rendered.read_text(encoding="utf-8"))[name]
    assert isinstance(found, dict)
    return found


def _planned(engine: Engine, config: Path) -> Counter[str]:
    printed = engine.pulumi("preview", "--stack", STACK, "--config-file", config, "--json")
    steps = json.loads(printed[printed.index("{") :])["steps"]
    return Counter(
        f"{step['op']} {step['urn'].split('::')[2].split('$')[-1]}" for step in steps if step["op"] != "same"
    )


@contextmanager
def _cut_off() -> Iterator[None]:
    python = ROOT / ".venv" / "bin" / "python"
    run(python, "-m", "sandbox", "node", "cut", NODE)
    try:
        yield
    finally:
        run(python, "-m", "sandbox", "node", "heal", NODE)


def _api(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    """The result of a request to the zone's records, without the token on a command line."""
    url = f"{where.CLOUDFLARE_API_URL}/zones/{cloudflare.zone_id()}/dns_records{path}"
    data = ("--json", json.dumps(body)) if body else ()
    header = f"Authorization: Bearer {cloudflare.token(LAYOUT)}\n"
    answer = json.loads(run(BIN / "curl", "-s", "-X", method, "-H", "@-", *data, url, stdin=header))
    if not answer["success"]:
        raise BenchError(f"{method} of a DNS record failed: {answer['errors']}")
    return answer["result"]
