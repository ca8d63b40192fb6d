"""Stands for a pod behind a NodePort: answers after a moment of work, and notes a request before it answers.

Usage: python edge_pod.py PORT LOG MILLISECONDS. The log has one line per request, "METHOD PATH", whose end it has read:
what stands there was carried out, whether or not the answer arrived.
"""

import asyncio
import os
import sys

_BODY = b'{"ok":true}\n'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_LENGTH = b"content-length:"


class Pod(asyncio.Protocol):
    """One connection, with requests one after the other."""

    def __init__(self, log: int, seconds: float) -> None:
        self._log = log
        self._seconds = seconds
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            lengths = [int(line[len(_LENGTH) :]) for line in lines if line.lower().startswith(_LENGTH)]
            if len(rest) < sum(lengths):
                return
            self._received = rest[sum(lengths) :]
            os.write(self._log, lines[0].rpartition(b" ")[0] + b"\n")
            asyncio.get_running_loop().call_later(self._seconds, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def main() -> None:
    """Serve until killed."""
    port, path, milliseconds = sys.argv[1:]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Pod(log, int(milliseconds) / 1000), "127.0.0.1", int(port), reuse_address=True, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
