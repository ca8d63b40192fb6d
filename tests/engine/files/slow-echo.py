"""Answers the echo requests of a host that ignores them itself, and takes its time: `slow-echo.py <seconds>`, as root.

In the place of `tc netem`, which many kernels are built without.
"""

import socket
import sys
import threading

ECHO_REQUEST = 8


def answer(request: bytes) -> bytes:
    """The reply to a request, with its checksum (RFC 792, RFC 1071)."""
    rest = request[4:] + b"\0" * (len(request) % 2)
    total = sum(int.from_bytes(rest[at : at + 2], "big") for at in range(0, len(rest), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return b"\0\0" + (~total & 0xFFFF).to_bytes(2, "big") + request[4:]


def main() -> None:
    """Answer until killed."""
    delay = float(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echo:
        print("ready", flush=True)
        while True:
            packet, (source, _) = echo.recvfrom(65535)
            request = packet[(packet[0] & 15) * 4 :]
            if request[0] == ECHO_REQUEST:
                threading.Timer(delay, echo.sendto, (answer(request), (source, 0))).start()


if __name__ == "__main__":
    main()
