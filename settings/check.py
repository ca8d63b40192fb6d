"""``python -m settings.check STACK``: the report on a stack file, without Pulumi and without its passphrase."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from settings import stackfile
from settings.loader import SettingsError, load
from settings.model import Settings
from settings.rules_certificates import STAND_IN


def main() -> int:
    """Print every problem of a stack file, or that there is none, and which secrets it holds."""
    parser = argparse.ArgumentParser(prog="python -m settings.check", description="Check a stack file without Pulumi.")
    parser.add_argument("stack", help="the stack's name, as in Pulumi.<stack>.yaml")
    stack = parser.parse_args().stack
    path = stackfile.path(stack, Path.cwd())
    if not path.exists():
        print(f"{path.name} does not exist. Fix: name an existing stack, or start it as a copy of one", file=sys.stderr)
        return 1
    config = stackfile.config(path.read_text(encoding="utf-8"))
    secrets = dict(_leaves(config.get("secrets", {})))
    for name, value in sorted(secrets.items()):
        print(f"  {name}: {'present' if stackfile.is_secure(value) else 'in clear'}")
    encrypted = all(stackfile.is_secure(value) for value in secrets.values())
    try:
        load(_opened(config), stack=stack, secret_keys=frozenset({"secrets"} if encrypted else ()))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path.name} is complete and consistent.")
    return 0


def read(path: Path) -> Settings:
    """The settings of a stack file, with a stand-in for every encrypted value. Raises ``SettingsError``."""
    stack = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
    return load(_opened(stackfile.config(path.read_text(encoding="utf-8"))), stack=stack)


def _opened(config: Mapping[str, object]) -> dict[str, object]:
    """The config with a stand-in for every encrypted value, each different, which no rule finds fault with."""

    def opened(value: object, path: str) -> object:
        if stackfile.is_secure(value):
            return f"-----BEGIN PRIVATE KEY-----{path}" if path == "secrets.sshPrivateKey" else f"{STAND_IN}{path}"
        if isinstance(value, Mapping):
            return {key: opened(item, f"{path}.{key}") for key, item in value.items()}
        return value

    return {key: opened(value, key) for key, value in config.items()}


def _leaves(value: object, path: str = "secrets") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and not stackfile.is_secure(value):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    else:
        yield path, value


if __name__ == "__main__":
    sys.exit(main())
