"""How much slower this machine is than the one on which the goals in seconds were set."""

import functools
import time

_REFERENCE_SECONDS = 0.3
_ADDITIONS = 5_000_000


@functools.cache
def pace() -> float:
    """Factor for bounds in seconds: CPU time of a fixed loop over that of the reference machine; never below 1.

    Measured in CPU time, so that what else runs on the machine does not widen a bound.
    """
    return max(1.0, min(_loop() for _ in range(3)) / _REFERENCE_SECONDS)


def _loop() -> float:
    begun = time.process_time()
    total = 0
    for number in range(_ADDITIONS):
        total += number
    return time.process_time() - begun
