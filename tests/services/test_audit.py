"""The audit policy in a real API server of its own: what it writes down of a person's commands, and what not."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.processes import wait_until
from sandbox.toolchain import tool
from tests.services.loopback import free_port

POLICY = Path(__file__).resolve().parents[2] / "docs" / "shared" / "audit-policy.yaml"
SECRET = "canary-of-a-secret"  # noqa: S105 - made up, to be looked for
START_SECONDS = 180


class ApiServer:
    """A server that knows two people by their tokens: alice may do everything, mallory nothing."""

    def __init__(self, url: str, log: Path) -> None:
        self._url, self._log = url, log
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    def ask(self, who: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> int:
        """Status of a request; 0 while nobody answers."""
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(  # noqa: S310 - its own server
            self._url + path,
            json.dumps(body).encode() if body else None,
            {"Authorization": f"Bearer {who}", "Content-Type": content},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=10) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def lines(self, who: str) -> list[dict[str, Any]]:
        """What is written down of somebody."""
        found = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [each for each in found if each["user"]["username"] == who]

    def text(self) -> str:
        """All of the log."""
        return self._log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    scratch = tmp_path_factory.mktemp("audit")
    (scratch / "tokens.csv").write_text('alice,alice,1,"system:masters"\nmallory,mallory,2,\n')
    key = scratch / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    store, peers, port = (free_port() for _ in range(3))
    url = f"http://127.0.0.1:{store}"
    etcd = ["etcd", f"--data-dir={scratch / 'etcd'}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    etcd += [f"--listen-peer-urls=http://127.0.0.1:{peers}", "--unsafe-no-fsync"]
    api = [
        str(tool("kube-apiserver")),
        f"--etcd-servers={url}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={scratch}",
        f"--token-auth-file={scratch / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://audit.test",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        f"--audit-policy-file={POLICY}",
        f"--audit-log-path={scratch / 'audit.log'}",
        "--audit-log-mode=blocking",
    ]
    with ExitStack() as stack:
        for name, argv in (("etcd", etcd), ("api", api)):
            log = stack.enter_context((scratch / name).with_suffix(".log").open("wb"))
            process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
        made = ApiServer(f"https://127.0.0.1:{port}", scratch / "audit.log")
        wait_until(
            "the API server is ready",
            lambda: made.ask("alice", "GET", "/readyz") == 200,
            timeout=START_SECONDS,
            log=scratch / "api.log",
        )
        made.ask("alice", "POST", "/api/v1/namespaces", {"metadata": {"name": "backend-mainnet"}})
        yield made


NAMESPACE = "/api/v1/namespaces/backend-mainnet"


def test_every_command_of_a_person_is_a_line_with_the_decision_on_it(server: ApiServer) -> None:
    assert server.ask("alice", "GET", f"{NAMESPACE}/pods") == 200
    assert server.ask("mallory", "GET", f"{NAMESPACE}/pods") == 403
    (allowed,) = [each for each in server.lines("alice") if each["verb"] == "list" and "pods" in each["requestURI"]]
    (refused,) = server.lines("mallory")
    for line, decision in ((allowed, "allow"), (refused, "forbid")):
        assert line["annotations"]["authorization.k8s.io/decision"] == decision
        assert line["sourceIPs"] == ["127.0.0.1"]
        assert line["level"] == "Metadata"


def test_what_is_changed_is_kept_and_no_secret_is(server: ApiServer) -> None:
    account = {"metadata": {"name": "named-in-the-log"}}
    assert server.ask("alice", "POST", f"{NAMESPACE}/serviceaccounts", account) == 201
    secret = {"metadata": {"name": "kept"}, "stringData": {"password": SECRET}}
    assert server.ask("alice", "POST", f"{NAMESPACE}/secrets", secret) == 201
    assert server.ask("alice", "PATCH", f"{NAMESPACE}/secrets/kept", {"stringData": {"password": SECRET + "2"}}) == 200
    assert server.ask("alice", "GET", f"{NAMESPACE}/secrets/kept") == 200
    verbs = [each["verb"] for each in server.lines("alice") if each["objectRef"].get("resource") == "secrets"]
    assert verbs == ["create", "patch", "get"]
    assert "named-in-the-log" in server.text()
    assert SECRET not in server.text()


def test_probes_are_no_lines(server: ApiServer) -> None:
    assert server.ask("alice", "GET", "/readyz") == 200
    assert "/readyz" not in server.text()
