"""Every test here starts from, and leaves behind, two deployed stacks with nothing to do."""

from tests.engine.conftest import mainnet, testnet

__all__ = ["mainnet", "testnet"]
