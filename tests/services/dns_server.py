"""A DNS server for one test network: answers A queries from a fixed table, and NXDOMAIN for the rest.

Usage: python dns_server.py ADDRESS '{"name.": "10.0.0.1"}'. Wire format: RFC 1035, section 4.
"""

import json
import socket
import struct
import sys

_TYPE_A, _NXDOMAIN = 1, 3


def answer(query: bytes, table: dict[str, str]) -> bytes:
    """The response to one query."""
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode().lower())
        position += length + 1
    question = query[12 : position + 5]
    (kind,) = struct.unpack("!H", query[position + 1 : position + 3])
    address = table.get(".".join(labels))
    found = address is not None and kind == _TYPE_A
    flags = 0x8400 | (0 if address is not None else _NXDOMAIN)
    header = query[:2] + struct.pack("!HHHHH", flags, 1, int(found), 0, 0)
    record = b""
    if found:
        record = b"\xc0\x0c" + struct.pack("!HHIH", _TYPE_A, 1, 1, 4) + socket.inet_aton(str(address))
    return header + question + record


if __name__ == "__main__":
    names = json.loads(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((sys.argv[1], 53))
        while True:
            packet, client = server.recvfrom(4096)
            server.sendto(answer(packet, names), client)
