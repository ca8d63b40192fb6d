"""A way to an object store on which things go wrong: clients come to port 9000, the store itself is on port 9001.

Usage: python faulty_store.py FAULT. ``none``; ``cut`` ends connections in the middle of a large object, in both
directions; ``unanswered`` has the store take every upload and tells the client 503.
"""

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = 2**20


class Way(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    fault = "none"

    def pass_on(self) -> None:
        """Hand a request to the store, and its answer to the client."""
        length = int(self.headers.get("Content-Length", 0))
        cut = self.fault == "cut" and length > LARGE
        store = http.client.HTTPConnection("127.0.0.1", 9001, timeout=60)
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"connection", "expect"}:
                store.putheader(name, value)
        store.endheaders(self.rfile.read(length // 2 if cut else length))
        if cut:
            store.close()
            self.close_connection = True
            return
        answer = store.getresponse()
        body = answer.read()
        store.close()
        if self.fault == "unanswered" and self.command == "PUT":
            self.send_error(503)
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "content-length", "transfer-encoding", "date"}:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.headers.get("Content-Length", str(len(body))))
        self.end_headers()
        if self.fault == "cut" and len(body) > LARGE:
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - the names that the server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Way.fault = sys.argv[1]
    ThreadingHTTPServer(("", 9000), Way).serve_forever()
