"""``python -m settings.configure STACK``: fills in what a stack file misses, and touches nothing that still serves.

Reads what it can (nodes, host keys, the zone), generates the passwords, issues the databases' certificates and asks for
the rest. Every value is stored by
``pulumi config set`` through its standard input; no secret is on a command line or on the screen. Running it again asks
only for what is still missing.
"""

import argparse
import getpass
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import yaml

from settings import certificates, discovery, stackfile
from settings.types import has_digest
from settings.wanted import Want, at, wanted

KEY_FILE = "secrets.sshPrivateKey"
TOKEN = "secrets.cloudflareApiToken"  # noqa: S105 - the path of the setting


class ConfigureError(Exception):
    """Why the command cannot go on, in one line with the remedy."""


@dataclass
class Session:
    """One run: the stack, its config as it was found, the prepared answers and the values found so far."""

    stack: str
    directory: Path
    config: Mapping[str, object]
    answers: Mapping[str, object]
    interactive: bool
    now: datetime
    found: dict[str, str] = field(default_factory=dict)
    issued: dict[str, certificates.Pair] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> Mapping[str, Mapping[str, str]]:
        """What the cluster says of its nodes; asked once."""
        kubeconfig = at(self.config, "cluster.kubeconfig")
        context = str(at(self.config, "cluster.context"))
        return discovery.cluster_nodes(context, str(kubeconfig) if kubeconfig else None) or {}

    def value(self, want: Want) -> tuple[str, str] | None:
        """A value and where it comes from; None when it has to be asked for and nobody can be."""
        answer = at(self.answers, want.path)
        if answer is not None:
            return self._taken(want, str(answer)), "answers"
        if want.generated:
            return self._generated(want), "generated"
        discovered = self._discovered(want)
        if discovered is not None:
            return want.checked(discovered[0]), discovered[1]
        return (self._asked(want), "asked") if self.interactive else None

    def _generated(self, want: Want) -> str:
        """A password, or a certificate or its key; those two are made at once, when the first of them is asked for."""
        section, _, name = want.path.removeprefix("secrets.").partition(".")
        if section != "tls":
            return secrets.token_urlsafe(32)
        name = name.removesuffix("Key")
        if name not in self.issued:
            self.issued[name] = self._issued(name)
        return self.issued[name].key if want.secret else self.issued[name].certificate

    def _issued(self, name: str) -> certificates.Pair:
        path = f"tls.{certificates.AUTHORITY}"
        trusted = self.found.get(path) or str(at(self.config, path) or "")
        if name == certificates.AUTHORITY:
            new = certificates.new_authority(str(at(self.config, "environment.name")), self.now)
            # An authority before it stays trusted until an operator removes it.
            return certificates.Pair(certificate=f"{trusted.rstrip()}\n{new.certificate}".lstrip(), key=new.key)
        key = self._stored(f"secrets.{path}Key")
        if key is None:
            raise ConfigureError(f"secrets.{path}Key: missing. Fix: run the command again")
        return certificates.new_server(
            name,
            str(at(self.config, "environment.namespace")),
            authority=certificates.Pair(certificate=trusted, key=key),
            now=self.now,
        )

    def _discovered(self, want: Want) -> tuple[str, str] | None:
        section, _, rest = want.path.partition(".")
        if section == "cluster":
            _, name, key = rest.split(".")
            value, source = self.nodes.get(name, {}).get(key), "the cluster"
        elif want.path.startswith("edge.ssh.hostKeys."):
            value, source = self._host_key(want.path.rsplit(".", 1)[1]), "the node, confirmed"
        elif want.path == "dns.zoneId":
            token = self._stored(TOKEN)
            value, source = discovery.zone_id(str(at(self.config, "dns.zone")), token) if token else None, "Cloudflare"
        elif want.path == TOKEN:
            value, source = os.environ.get("CLOUDFLARE_API_TOKEN"), "CLOUDFLARE_API_TOKEN"
        elif section == "images" and (image := at(self.config, want.path)) is not None:
            value, source = discovery.pinned(str(image)), "the registry"
        else:
            return None
        return (value, source) if value else None

    def _host_key(self, name: str) -> str | None:
        """The node's own key, if the operator confirms its fingerprint."""
        node = f"cluster.nodes.{name}"
        address = at(self.config, f"{node}.publicIp") or at(self.config, f"{node}.internalIp")
        port = at(self.config, "edge.ssh.port")
        if not self.interactive or address is None:
            return None
        key = discovery.host_key(str(address), port if isinstance(port, int) else 22)
        if key is None:
            return None
        print(f"{name} at {address} shows the host key {discovery.fingerprint(key)}.")
        print("Compare it on the node's console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        return key if input("Is it the same? [yes/no] ").strip() == "yes" else None

    def _stored(self, path: str) -> str | None:
        """A secret of this run, or the one that the stack file has already."""
        if path in self.found or at(self.config, path) is None:
            return self.found.get(path)
        return self.pulumi("config", "get", "--path", f"{stackfile.PROJECT}:{path}").strip()

    def _asked(self, want: Want) -> str:
        while True:
            hidden = want.secret and want.path != KEY_FILE
            answer = (getpass.getpass if hidden else input)(f"{want.question}: ").strip()
            try:
                return self._taken(want, answer)
            except (ValueError, ConfigureError) as error:
                print(f"  {error}")

    def _taken(self, want: Want, answer: str) -> str:
        """An operator's answer as the stack file holds it."""
        if want.path == KEY_FILE:
            path = Path(answer).expanduser()
            if not path.is_file():
                raise ConfigureError(f"{want.path}: no such file. Got '{path}'. Fix: name the private key's file")
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "no text"
                raise ConfigureError(f"{want.path}: {reason}. Got '{path}'. Fix: name the private key's file") from None
        if want.path.startswith("images.") and not has_digest(answer):
            answer = discovery.pinned(answer) or answer
        try:
            return want.checked(answer)
        except ValueError as error:
            raise ConfigureError(f"{want.path}: {error}") from None

    def store(self, want: Want, value: str) -> None:
        """Put a value into the stack file."""
        kind = ("--secret",) if want.secret else ("--plaintext",)
        self.pulumi("config", "set", "--path", *kind, f"{stackfile.PROJECT}:{want.path}", stdin=value)

    def pulumi(self, *argv: str, stdin: str = "") -> str:
        """Output of a pulumi command on this stack."""
        command = ["pulumi", *argv, "--stack", self.stack, "--non-interactive"]
        try:
            done = subprocess.run(command, cwd=self.directory, input=stdin, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ConfigureError("pulumi is not on PATH. Fix: install it, or put sandbox/bin on PATH") from None
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise ConfigureError(
                f"`pulumi {' '.join(argv[:2])}` failed: {reason[0]}. "
                f"Fix: `pulumi login`, PULUMI_CONFIG_PASSPHRASE_FILE and `pulumi stack init {self.stack}`, then again"
            )
        return done.stdout


def main() -> int:
    """Run the command; 0 when nothing is missing any more."""
    parser = argparse.ArgumentParser(prog="python -m settings.configure", description="Complete a stack file.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    parser.add_argument("--answers", type=Path, help="YAML shaped like the stack file's sections; asks nothing")
    parser.add_argument("--dry-run", action="store_true", help="list what would be set, and set nothing")
    arguments = parser.parse_args()
    try:
        return _configure(arguments.stack, arguments.answers, dry_run=arguments.dry_run)
    except (ConfigureError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nStopped. What was stored stays; run the command again for the rest.", file=sys.stderr)
        return 130


def _configure(stack: str, answers: Path | None, *, dry_run: bool) -> int:
    directory = Path.cwd()
    path = stackfile.path(stack, directory)
    if not path.exists():
        raise ConfigureError(f"{path.name} does not exist. Fix: name an existing stack, or start it as a copy of one")
    session = Session(
        stack=stack,
        directory=directory,
        config=stackfile.config(stackfile.text_of(path)),
        answers=_answers(answers),
        interactive=answers is None and not dry_run,
        now=datetime.now(UTC),
    )
    open_wants = []
    for want in wanted(session.config, session.now):
        value = session.value(want)
        if value is None:
            open_wants.append(want)
            continue
        session.found[want.path] = value[0]
        if not dry_run:
            session.store(want, value[0])
        print(f"{'would set' if dry_run else 'set'} {want.path} = {_shown(want, value[0])}    from: {value[1]}")
    for want in open_wants:
        print(f"still missing {want.path}: {want.question}")
    if not session.found and not open_wants:
        print(f"{path.name} misses nothing.")
    return 1 if open_wants else 0


def _shown(want: Want, value: str) -> str:
    if want.secret:
        return "(secret)"
    return f"(certificate, until {certificates.ends(value).date()})" if want.path.startswith("tls.") else value


def _answers(path: Path | None) -> Mapping[str, object]:
    if path is None:
        return {}
    if not path.exists():
        raise ConfigureError(f"{path} does not exist. Fix: name the file with the answers")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigureError(f"{path}: {place}{error.problem}. Fix: correct the YAML there") from None
    if not isinstance(loaded, Mapping):
        raise ConfigureError(f"{path} holds no sections. Fix: write it like the stack file, without the prefix")
    return loaded


if __name__ == "__main__":
    sys.exit(main())
