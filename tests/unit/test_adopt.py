"""The adoption when something stops it half-way. tests/engine/test_adoption.py adopts a stack with the real engine."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from operations import adopt
from operations.stack import OperationError, Stack
from settings.model import Settings
from tests import stacks

RECORD = {"zoneId": "0" * 32, "name": "api.gxcoin.money", "content": "192.0.2.1"}


@dataclass(frozen=True)
class Engine(Stack):
    """A stack whose engine exports an empty state and keeps what it was asked."""

    asked: list[str] = field(default_factory=list)

    def settings(self) -> Settings:
        return stacks.settings("devnet")

    def pulumi(self, command: str, *argv: str) -> str:
        self.asked.append(" ".join([command, *argv]))
        if argv[:1] == ("export",):
            Path(argv[-1]).write_text(json.dumps({"deployment": {}}))
        return ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OperationError("refused")])
def test_whatever_stops_an_import_the_state_is_as_it_was_before(
    stop: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half imported, with the fields that the server filled in, the next `up` would replace services."""

    def stopped(_stack: Stack) -> None:
        raise stop

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adopt, "_planned", lambda *_: ([], {"resources": []}))
    monkeypatch.setattr(adopt, "_existing", lambda *_: {"kubernetes:core/v1:Namespace::backend-namespace": "backend"})
    monkeypatch.setattr(adopt, "_check_preview", stopped)
    stack = Engine("devnet", tmp_path / "Pulumi.devnet.yaml")
    with pytest.raises(type(stop)):
        adopt.adopt(stack, confirmed=True, list_only=False)
    assert stack.asked[-1].startswith("stack import --file")
    assert stack.asked[-1].endswith("before.json")


class Refusing(BaseHTTPRequestHandler):
    """Answers as Cloudflare does to a token that it does not know."""

    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def with_cloudflare_at(url: str) -> Settings:
    mainnet = stacks.settings("mainnet")
    assert mainnet.dns is not None
    return mainnet.model_copy(update={"dns": mainnet.dns.model_copy(update={"base_url": url})})


def test_a_token_that_cloudflare_refuses_is_told_by_its_key(refusing: str) -> None:
    with pytest.raises(OperationError, match=r"HTTP 403.* Fix: check secrets\.cloudflareApiToken"):
        adopt._dns_record(with_cloudflare_at(refusing), RECORD)


def test_a_cloudflare_that_does_not_answer_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OperationError, match=rf"^Cloudflare at http://127\.0\.0\.1:{port}: Connection refused\. Fix: "):
        adopt._dns_record(with_cloudflare_at(f"http://127.0.0.1:{port}"), RECORD)
