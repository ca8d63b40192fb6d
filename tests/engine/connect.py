"""Which addresses accept a TCP connection from here: JSON pairs of host and port come in, those that do go out.

Run inside another network namespace, by the interpreter alone.
"""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

PATIENCE_SECONDS = 2


def accepts(target: tuple[str, int]) -> bool:
    """Whether a connection is established: a policy's refusal, a missing listener and silence are all the same."""
    try:
        socket.create_connection(target, PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    targets = [tuple(each) for each in json.load(sys.stdin)]
    with ThreadPoolExecutor(len(targets) or 1) as pool:
        json.dump(
            [target for target, open_ in zip(targets, pool.map(accepts, targets), strict=True) if open_], sys.stdout
        )
