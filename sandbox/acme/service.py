"""Starts and stops Pebble and pebble-challtestsrv on the sandbox's Cloudflare machine.

Pebble makes a new issuer at each start, so its root is fetched each time; certificates of an earlier start are then
foreign, as after a change of authority. https://github.com/letsencrypt/pebble/blob/v2.4.0/README.md
"""

import json
from collections.abc import Mapping
from pathlib import Path

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.cloudflare import authority
from sandbox.layout import Layout
from sandbox.parts import Health, say

_DNS, _PEBBLE = "challtestsrv", "pebble"
_DNS_MANAGEMENT_ADDRESS = "127.0.0.1:8055"
DNS_MANAGEMENT_URL = f"http://{_DNS_MANAGEMENT_ADDRESS}"
_ROOT_URL = f"https://{where.CLOUDFLARE_ADDRESS}:15000/roots/0"
_CONFIGURATION = Path(__file__).parent / "pebble.json"
_WITHOUT_CHAOS = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "100"}


def root_path(layout: Layout) -> Path:
    """Root of what Pebble issues in this start: the issuer the proxy accepts under SSL mode strict."""
    return authority.directory(layout) / "acme-root.pem"


def bundle_path(layout: Layout) -> Path:
    """What a node trusts in the place of the public authorities: the ACME server itself, and what it issues."""
    return authority.directory(layout) / "public-roots.pem"


def start(layout: Layout, faults: Mapping[str, str] | None = None) -> None:
    """Bring the public DNS and the ACME server up and return when both answer. Nothing happens when they run.

    ``faults`` are variables of Pebble's environment in the place of those that keep it reliable and quick.
    """
    netns.start(layout, where.CLOUDFLARE)
    if processes.pid_of(layout, _DNS) is None:
        say("starting the public DNS (pebble-challtestsrv)")
        _start_dns(layout)
    if processes.pid_of(layout, _PEBBLE) is None:
        say("starting the ACME server (Pebble)")
        _start_pebble(layout, faults or {})


def stop(layout: Layout) -> None:
    """End both."""
    for name in (_PEBBLE, _DNS):
        processes.stop(layout, name)


def status(layout: Layout) -> list[Health]:
    """Whether both programs run."""
    where_found = {"public DNS": (_DNS, f"{where.CLOUDFLARE_ADDRESS}:53"), "ACME": (_PEBBLE, where.ACME_DIRECTORY_URL)}
    lines = []
    for what, (name, place) in where_found.items():
        well = processes.pid_of(layout, name) is not None
        lines.append(Health(what, well, place if well else f"not running; see {layout.log(name)}"))
    return lines


def _start_dns(layout: Layout) -> None:
    resolvers = f"{where.ACME_DNS_ADDRESS},{where.CLOUDFLARE_ADDRESS}:53"
    empty = ("-defaultIPv4=", "-defaultIPv6=", "-http01=", "-https01=", "-tlsalpn01=")
    _spawn(
        layout, _DNS, ["pebble-challtestsrv", f"-management={_DNS_MANAGEMENT_ADDRESS}", f"-dns01={resolvers}", *empty]
    )
    probe = [
        "curl",
        "-s",
        "-m",
        "2",
        "-o",
        "/dev/null",
        "-X",
        "POST",
        "-d",
        "{}",
        f"{DNS_MANAGEMENT_URL}/clear-request-history",
    ]
    processes.wait_until("the public DNS answers", lambda: _succeeds(layout, probe), timeout=10, log=layout.log(_DNS))
    # The double knows the names; it publishes them all when it starts, and again when the DNS starts after it.
    _succeeds(
        layout, ["curl", "-s", "-m", "5", "-X", "POST", f"http://{where.CLOUDFLARE_ADDRESS}:8787/__sandbox/dns/sync"]
    )


def _start_pebble(layout: Layout, faults: Mapping[str, str]) -> None:
    home = layout.runtime / "acme"
    authority.issue(layout, home / "server", [where.CLOUDFLARE_ADDRESS, "acme.sandbox.invalid"])
    configuration = json.loads(_CONFIGURATION.read_text())
    configuration["pebble"]["certificate"] = str(home / "server.pem")
    configuration["pebble"]["privateKey"] = str(home / "server.key")
    (home / "pebble.json").write_text(json.dumps(configuration))
    argv = ["pebble", "-config", str(home / "pebble.json"), "-dnsserver", where.ACME_DNS_ADDRESS, "-strict"]
    _spawn(layout, _PEBBLE, argv, {**_WITHOUT_CHAOS, **faults})
    fetch = [
        "curl",
        "-sf",
        "-m",
        "2",
        "--cacert",
        str(authority.certificate_path(layout)),
        "-o",
        str(root_path(layout)),
        _ROOT_URL,
    ]
    processes.wait_until(
        "the ACME server answers", lambda: _succeeds(layout, fetch), timeout=15, log=layout.log(_PEBBLE)
    )
    roots = (authority.certificate_path(layout), root_path(layout))
    bundle_path(layout).write_text("".join(root.read_text() for root in roots))


def _spawn(layout: Layout, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    processes.spawn(layout, name, [*netns.enter_argv(layout, where.CLOUDFLARE), *argv], env)


def _succeeds(layout: Layout, argv: list[str]) -> bool:
    return processes.succeeds([*where.nsenter_argv(layout.netns(where.CLOUDFLARE)), *argv])
