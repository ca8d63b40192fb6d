"""One run of the whole program per stack file, shared by all tests of this folder."""

import pytest

from tests import capture
from tests.capture import Capture

STACKS = ("mainnet", "testnet")


@pytest.fixture(params=STACKS)
def program(request: pytest.FixtureRequest) -> Capture:
    """Everything that a stack registers, for each stack file in turn."""
    return capture.stack(request.param)


@pytest.fixture
def mainnet() -> Capture:
    """Everything that mainnet registers."""
    return capture.stack("mainnet")


@pytest.fixture
def testnet() -> Capture:
    """Everything that testnet registers."""
    return capture.stack("testnet")
