"""Runs the API and the proxy in one process, inside the sandbox's Cloudflare machine."""

import argparse
import asyncio
import json
import signal
import ssl
from pathlib import Path

from aiohttp import web

from sandbox.cloudflare.api import Api
from sandbox.cloudflare.edge import Edge, EdgeSettings
from sandbox.cloudflare.gate import Gate, Journal
from sandbox.cloudflare.resolver import Resolver
from sandbox.cloudflare.state import State


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    directory: Path = options.directory
    state = State(directory / "state.json", options.zone)
    state.save()
    tokens = {token: frozenset(names) for token, names in json.loads((directory / "tokens.json").read_text()).items()}
    gate = Gate(tokens, Journal(directory / "journal.jsonl"))
    resolver = Resolver(state, options.public_address, options.dns_management)
    settings = EdgeSettings(options.public_address, options.origin_roots, options.connect_seconds)
    edge = web.AppRunner(Edge(state, settings, Journal(directory / "proxy.jsonl")).application(), access_log=None)
    api = web.AppRunner(Api(state, gate, resolver).application(), access_log=None)
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_cert_chain(directory / "edge.pem", directory / "edge.key")
    for runner in (edge, api):
        await runner.setup()
    await resolver.publish(*state.hosts())
    await web.TCPSite(edge, options.public_address, 80).start()
    await web.TCPSite(edge, options.public_address, 443, ssl_context=certificate).start()
    await web.TCPSite(api, options.api_address, options.api_port).start()
    await _terminated()
    for runner in (edge, api):
        await runner.cleanup()


async def _terminated() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.cloudflare.serve")
    parser.add_argument(
        "--directory", type=Path, required=True, help="holds tokens.json, edge.pem, edge.key; the state"
    )
    parser.add_argument("--zone", action="append", default=[], help="a zone of the account; may be repeated")
    parser.add_argument("--api-address", required=True)
    parser.add_argument("--api-port", type=int, default=8787)
    parser.add_argument("--public-address", required=True, help="the proxy's address, from which it asks origins too")
    parser.add_argument("--origin-roots", type=Path, required=True, help="issuers accepted under SSL mode strict")
    parser.add_argument(
        "--connect-seconds", type=float, default=2.0, help="patience with an origin; 19 at the real edge"
    )
    parser.add_argument("--dns-management", help="URL of pebble-challtestsrv's management interface")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(serve(_options()))
