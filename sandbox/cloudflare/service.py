"""Starts and stops the Cloudflare double on its machine of the sandbox."""

import json
import secrets
import sys
from pathlib import Path

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.acme import service as acme
from sandbox.cloudflare import authority
from sandbox.cloudflare.state import fixed_id
from sandbox.layout import Layout
from sandbox.parts import Health, say

_NAME = "cloudflare"
_PACKAGES = Path(__file__).resolve().parents[2]
ZONES = ("gxcoin.money",)
"""Zones of the sandbox's account (CF-01)."""
_PERMISSIONS = {
    "operator": ("dns_records", "settings", "load_balancers"),
    "certbot": ("dns_records",),
}


def directory(layout: Layout) -> Path:
    """State, tokens and journals: `journal.jsonl` of the API, `proxy.jsonl` of visitors' requests."""
    return layout.runtime / "cloudflare"


def token(layout: Layout, owner: str = "operator") -> str:
    """API token of the operator (DNS, zone settings, load balancing) or of certbot (DNS alone)."""
    return (directory(layout) / f"{owner}.token").read_text()


def zone_id(zone: str = ZONES[0]) -> str:
    """Identifier of a zone at the double; the same in every sandbox."""
    return fixed_id(zone)


def start(layout: Layout) -> None:
    """Bring the double up and return when it answers and the public DNS follows it. Nothing happens when it runs."""
    netns.start(layout, where.CLOUDFLARE)
    if processes.pid_of(layout, _NAME) is not None:
        return
    say("starting the Cloudflare double")
    _prepare(layout)
    processes.spawn(layout, _NAME, [*netns.enter_argv(layout, where.CLOUDFLARE, str(_PACKAGES)), *_argv(layout)])
    processes.wait_until("the Cloudflare double answers", lambda: _answers(layout), timeout=20, log=layout.log(_NAME))


def stop(layout: Layout) -> None:
    """End the double; its state stays until `.sandbox` is removed."""
    processes.stop(layout, _NAME)


def status(layout: Layout) -> list[Health]:
    """Whether the API answers."""
    well = processes.pid_of(layout, _NAME) is not None and _answers(layout)
    detail = f"API {where.CLOUDFLARE_API_URL}, proxy https://{where.CLOUDFLARE_PUBLIC_ADDRESS}"
    return [Health("Cloudflare double", well, detail if well else f"not running; see {layout.log(_NAME)}")]


def _answers(layout: Layout) -> bool:
    probe = ["curl", "-sf", "-m", "2", "-o", "/dev/null", f"http://{where.CLOUDFLARE_ADDRESS}:8787/__sandbox/healthz"]
    return processes.succeeds([*where.nsenter_argv(layout.netns(where.CLOUDFLARE)), *probe])


def _prepare(layout: Layout) -> None:
    home = directory(layout)
    home.mkdir(parents=True, exist_ok=True)
    for owner in _PERMISSIONS:
        path = home / f"{owner}.token"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(30))
    tokens = home / "tokens.json"
    tokens.touch(mode=0o600)
    tokens.write_text(json.dumps({token(layout, owner): names for owner, names in _PERMISSIONS.items()}))
    authority.issue(layout, home / "edge", [name for zone in ZONES for name in (zone, f"*.{zone}")])


def _argv(layout: Layout) -> list[str]:
    return [
        *(sys.executable, "-m", "sandbox.cloudflare.serve"),
        f"--directory={directory(layout)}",
        *(f"--zone={zone}" for zone in ZONES),
        f"--api-address={where.CLOUDFLARE_ADDRESS}",
        f"--public-address={where.CLOUDFLARE_PUBLIC_ADDRESS}",
        f"--origin-roots={acme.root_path(layout)}",
        f"--dns-management={acme.DNS_MANAGEMENT_URL}",
    ]
