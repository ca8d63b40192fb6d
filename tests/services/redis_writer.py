"""Write to Redis for ever, one write after the other, and print what became of each. Runs in a pod of a lab, by itself.

Arguments: the writer's name, the file with the authorities, and where it connects:
    direct ADDRESS NAME      to one address, whose certificate has to have the name;
    sentinels NAME...        to the master that the first of some sentinels to answer names, as
                             https://redis.io/docs/latest/develop/reference/sentinel-clients/ asks of a client.
Lines: `acknowledged TIME NUMBER RUN`, where the run is that of the server that answered, or
`refused TIME NUMBER REASON`. Times are those of the monotonic clock, which all
processes of a machine share. The password is in REDISCLI_AUTH.
"""

import os
import socket
import ssl
import sys
import time

PORT, SENTINEL_PORT = 6379, 26379
USER, MASTER = "application", "gx"
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.005


class RefusedError(Exception):
    """The server answered with an error."""


class Connection:
    """One encrypted connection with a user and a password."""

    def __init__(self, address: str, port: int, name: str, trust: ssl.SSLContext) -> None:
        raw = socket.create_connection((address, port), PATIENCE_SECONDS)
        self._socket = trust.wrap_socket(raw, server_hostname=name)
        self._replies = self._socket.makefile("rb")
        self.ask("AUTH", USER, os.environ["REDISCLI_AUTH"])

    def ask(self, *words: str) -> object:
        """The answer to a command."""
        parts = [word.encode() for word in words]
        encoded = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), encoded))
        return self._reply()

    def close(self) -> None:
        """End the connection."""
        self._replies.close()
        self._socket.close()

    def _reply(self) -> object:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RefusedError(text)
        if kind == b"$":
            return self._replies.read(int(text) + 2)[:-2].decode() if text != "-1" else None
        if kind == b"*":
            return [self._reply() for _ in range(int(text))]
        return text


def connected(where: list[str], trust: ssl.SSLContext) -> Connection:
    """A connection to a server that should accept writes."""
    if where[0] == "direct":
        return Connection(where[1], PORT, where[2], trust)
    name = master_of(where[1:], trust)
    server = Connection(name, PORT, name, trust)
    role = server.ask("ROLE")
    if not isinstance(role, list) or role[0] != "master":
        server.close()
        raise RefusedError("NOMASTER it is no master")
    return server


def master_of(sentinels: list[str], trust: ssl.SSLContext) -> str:
    """What the first sentinel to answer says."""
    for name in sentinels:
        try:
            sentinel = Connection(name, SENTINEL_PORT, name, trust)
        except OSError:
            continue
        found = sentinel.ask("SENTINEL", "get-master-addr-by-name", MASTER)
        sentinel.close()
        if isinstance(found, list):
            return str(found[0])
    raise ConnectionError("no sentinel answers")


def run_of(server: Connection) -> str:
    """Which run of its server a connection leads to."""
    lines = str(server.ask("INFO", "server")).splitlines()
    return next(line.split(":")[1] for line in lines if line.startswith("run_id:"))


def main() -> None:
    """Write until the pod ends."""
    name, authority, *where = sys.argv[1:]
    trust = ssl.create_default_context(cafile=authority)
    server, run, number = None, "", 0
    while True:
        number += 1
        try:
            if server is None:
                server = connected(where, trust)
                run = run_of(server)
            server.ask("SADD", name, str(number))
            print("acknowledged", time.monotonic(), number, run, flush=True)
        except (RefusedError, OSError) as error:
            # Whoever refuses may no longer be the master: a client looks for it anew.
            print("refused", time.monotonic(), number, str(error).split(" ")[0] or "closed", flush=True)
            if server is not None:
                server.close()
            server = None
            time.sleep(0.05)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
