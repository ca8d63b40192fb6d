"""`python -m sandbox.images`: build every image and print its digest."""

import sys
import time

from sandbox import images
from sandbox.processes import SandboxError


def main() -> int:
    """Build what is missing; 0 when every image is there."""
    started = time.monotonic()
    try:
        built = images.ensure()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    for image in built.values():
        print(image.pinned)
    print(f"{len(built)} images in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
