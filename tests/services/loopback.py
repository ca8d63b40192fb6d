"""Servers on this machine's loopback address, for what needs no network of its own."""

import socketserver


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        return int(server.server_address[1])
