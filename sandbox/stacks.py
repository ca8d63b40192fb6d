"""Stack files for the sandbox: the committed ones with the sandbox's own addresses, images and secrets laid over them.

`prepare` makes a stack's overlay once, with secrets that the engine really encrypts. `render` merges it into the
committed file whenever that changed: an edit of `Pulumi.mainnet.yaml` takes effect; the file is never written.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import files
from sandbox import layout as where
from sandbox.layout import Layout
from sandbox.processes import SandboxError
from settings import certificates, stackfile

if TYPE_CHECKING:
    from sandbox.stack_values import Values

PASSWORDS = {
    "postgres": ("admin", "owner", "application", "replication", "backup", "exporter", "failover", "archive"),
    "redis": ("application", "replication", "sentinel", "backup", "exporter"),
}


def render(stack: str) -> Path:
    """The stack file as the sandbox's engine reads it, rewritten when the committed file or the overlay changed."""
    layout = where.current()
    committed, overlay = layout.root / f"Pulumi.{stack}.yaml", overlay_path(layout, stack)
    for path, remedy in ((committed, "Fix: name an existing stack"), (overlay, "Fix: python -m sandbox up --deploy")):
        if not path.exists():
            raise SandboxError(f"{path.relative_to(layout.root)} does not exist. {remedy}")
    base, patch = committed.read_text(encoding="utf-8"), overlay.read_text(encoding="utf-8")
    stamp = f"# {hashlib.sha256((base + patch).encode()).hexdigest()}\n"
    rendered = _directory(layout) / f"Pulumi.{stack}.yaml"
    if not rendered.exists() or not rendered.read_text(encoding="utf-8").startswith(stamp):
        merged = stackfile.merge(stackfile.parse(base), stackfile.parse(patch))
        files.replace(rendered, stamp + stackfile.dump(merged))
    return rendered


def overlay_path(layout: Layout, stack: str) -> Path:
    """Where a stack's overlay is kept."""
    return _directory(layout) / f"overlay.{stack}.yaml"


def prepare(stack: str) -> Path:
    """Create the stack in the sandbox's backend and write its overlay. Secrets are made once and kept after that.

    The sandbox must be running.
    """
    from sandbox.stack_values import gather  # noqa: PLC0415 - `render` runs before every pulumi command and needs none of it

    layout = where.current()
    values = gather(layout)
    path = overlay_path(layout, stack)
    base = stackfile.config((layout.root / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    pairs = _pairs(base)
    plain = {"config": stackfile.prefixed(_plain(base, values, pairs))}
    known = stackfile.parse(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept: dict[str, object] = {key: value for key, value in known.items() if key != "config"}
    entries = known.get("config")
    key, tls = f"{stackfile.PROJECT}:secrets", f"{stackfile.PROJECT}:tls"
    # Certificates go with their keys, which are among the secrets.
    if isinstance(entries, Mapping) and key in entries and tls in entries:
        kept["config"] = {each: entries[each] for each in (key, tls)}
        files.replace(path, stackfile.dump(stackfile.merge(plain, kept)))
        return path
    with tempfile.TemporaryDirectory(prefix="stack-", dir=layout.runtime) as scratch:
        # A project of its own: the engine writes what it encrypts into the stack file beside Pulumi.yaml.
        shutil.copy(layout.root / "Pulumi.yaml", scratch)
        made = Path(scratch) / f"Pulumi.{stack}.yaml"
        made.write_text(stackfile.dump(plain), encoding="utf-8")
        _pulumi(layout, scratch, "stack", "select", "--create", stack)
        for name, secret in _secrets(base, values, pairs):
            argv = (
                "config",
                "set",
                "--stack",
                stack,
                "--config-file",
                str(made),
                "--path",
                "--secret",
                f"{key}.{name}",
            )
            _pulumi(layout, scratch, *argv, stdin=secret)
        files.replace(path, made.read_text(encoding="utf-8"))
    return path


def _plain(base: Mapping[str, object], values: "Values", pairs: Mapping[str, certificates.Pair]) -> dict[str, object]:
    plain: dict[str, object] = {
        "cluster": {
            "kubeconfig": str(where.current().kubeconfig),
            "nodes": {node.name: {"internalIp": node.address, "podCidr": node.pod_cidr} for node in where.NODES},
        },
        "images": _images(base, values.images),
        "tls": {name: pair.certificate for name, pair in pairs.items()},
    }
    if "migration" in base:
        plain["migration"] = {"command": ["/standin", "migrate"], "seed": ["/standin", "seed"]}
    if "edge" in base:
        plain["edge"] = {
            "ssh": {"user": "root", "hostKeys": {name: values.host_keys[name] for name in _provisioned(base)}},
            "acme": {
                "directory": where.ACME_DIRECTORY_URL,
                "email": "ops@sandbox.example",
                "caBundle": str(values.ca_bundle),
            },
        }
    if "dns" in base:
        plain["dns"] = {"zoneId": values.zone_id, "baseUrl": where.CLOUDFLARE_API_URL}
    return plain


def _images(base: Mapping[str, object], images: Mapping[str, str]) -> dict[str, object]:
    named = _mapping(base["images"])
    workloads = [*_mapping(base["workers"]), *_mapping(base["services"])]
    found: dict[str, object] = {kind: images[str(ref)] for kind, ref in named.items() if kind != "workloads"}
    if "migration" in base:
        found["migration"] = images["ghcr.io/gx-protocol/migration:sandbox"]
    return found | {"workloads": {name: images[f"ghcr.io/gx-protocol/{name}:sandbox"] for name in workloads}}


def _pairs(base: Mapping[str, object]) -> dict[str, certificates.Pair]:
    """An authority and what it signs for the stack's databases, by name."""
    environment, now = _mapping(base["environment"]), datetime.now(UTC)
    authority = certificates.new_authority(str(environment["name"]), now)
    namespace = str(environment["namespace"])
    servers = {
        server: certificates.new_server(server, namespace, authority=authority, now=now)
        for server in certificates.SERVICES
    }
    return {certificates.AUTHORITY: authority, **servers}


def _secrets(
    base: Mapping[str, object], values: "Values", pairs: Mapping[str, certificates.Pair]
) -> Iterator[tuple[str, str]]:
    for group, roles in PASSWORDS.items():
        for role in roles:
            yield f"{group}.{role}", secrets.token_urlsafe(32)
    for name, pair in pairs.items():
        yield f"tls.{name}Key", pair.key
    if "fabric" in base:
        # Nothing there reads it: it shows that the file arrives, and nowhere else.
        yield "fabricCredentials.client-key", secrets.token_urlsafe(32)
    if "dns" in base:
        yield "cloudflareApiToken", values.api_token
        if _mapping(_mapping(base.get("edge", {})).get("acme", {})).get("challenge") == "dns-01":
            yield "acmeDnsToken", values.certbot_token
    if "edge" in base:
        yield "sshPrivateKey", values.ssh_private_key


def _provisioned(base: Mapping[str, object]) -> list[str]:
    """Nodes that are provisioned over SSH: with a firewall all, else those of the edge."""
    edge = _mapping(base["edge"])
    nodes = list(_mapping(_mapping(base["cluster"])["nodes"])) if "firewall" in edge else edge["nodes"]
    return [str(name) for name in nodes] if isinstance(nodes, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise SandboxError(
            f"a section of the stack file is {type(value).__name__} instead of an object. Fix: make settings-check"
        )
    return value


def _pulumi(layout: Layout, directory: str, *argv: str, stdin: str = "") -> None:
    command = [str(layout.root / "sandbox" / "bin" / "pulumi"), *argv, "--non-interactive"]
    done = subprocess.run(
        command, cwd=directory, input=stdin, capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode != 0:
        raise SandboxError(f"pulumi {' '.join(argv[:2])} failed: {done.stderr.strip() or done.stdout.strip()}")


def _directory(layout: Layout) -> Path:
    return layout.runtime / "stacks"
