"""Every test here starts from, and leaves behind, two deployed stacks with nothing to do."""

import pytest

from tests.engine.stack import Stack


@pytest.fixture
def mainnet(deployed: None) -> Stack:
    """The deployed mainnet stack."""
    return Stack("mainnet")


@pytest.fixture
def testnet(deployed: None) -> Stack:
    """The deployed testnet stack."""
    return Stack("testnet")
