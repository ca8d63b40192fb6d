"""Stand-ins for what a stack file keeps encrypted or misses yet, so that it is judged without any access.

A stand-in is valid, obviously none of an operator's values, and the same in every run. No proof depends on one: what is
stood in for are addresses, keys and digests, and never a size, a count or a name.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from settings import certificates, stackfile
from settings.loader import load
from settings.model import Settings
from settings.rules_certificates import STAND_IN
from settings.types import has_digest
from settings.wanted import Want, at, wanted

_DIGEST = "sha256:" + "0" * 64
_PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----stand-in"
# Tried in this order on a value's own validator.
_CANDIDATES = (
    "stand-in",
    "0" * 32,
    "stand-in.example.org",
    "stand-in@example.org",
    "https://stand-in.example.org",
    "192.0.2.1",
    "192.0.2.0/24",
    f"ssh-ed25519 {'A' * 68}",
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The settings of a stack file as far as they are known, their config, and the paths that a stand-in fills."""

    settings: Settings
    config: Mapping[str, object]
    missing: tuple[str, ...]


def read(path: Path) -> Judged:
    """The settings of a stack file. Raises ``SettingsError`` for every mistake but what `make configure` fills in."""
    text = stackfile.text_of(path)
    stack = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
    config = stackfile.config(text)
    whole, missing = completed(config)
    settings = load(opened(whole), stack=stack, secret_keys=encrypted(config))
    return Judged(settings=settings, config=whole, missing=missing)


def encrypted(config: Mapping[str, object]) -> frozenset[str]:
    """The key of the secrets, when none of them stands in clear: what the loader wants to know of encryption."""
    sealed = all(stackfile.is_secure(value) for _, value in leaves(config.get("secrets", {})))
    return frozenset({"secrets"} if sealed else ())


def opened(config: Mapping[str, object]) -> dict[str, object]:
    """The config with a stand-in for every encrypted value, each different, which no rule finds fault with."""

    def value_of(value: object, path: str) -> object:
        if stackfile.is_secure(value):
            return _PRIVATE_KEY if path == "secrets.sshPrivateKey" else f"{STAND_IN}{path}"
        if isinstance(value, Mapping):
            return {key: value_of(item, f"{path}.{key}") for key, item in value.items()}
        return value

    return {key: value_of(value, key) for key, value in config.items()}


def leaves(value: object, path: str = "secrets") -> Iterator[tuple[str, object]]:
    """Every secret of a stack file by its path, encrypted or not."""
    if isinstance(value, Mapping) and not stackfile.is_secure(value):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    else:
        yield path, value


def completed(config: Mapping[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """The config with a stand-in for every value that it misses, and the paths of those values."""
    whole = deepcopy(dict(config))
    missing = []
    for want in wanted(config, datetime.now(UTC)):
        # A certificate that no longer serves is there all the same, and the proofs say so.
        if want.path.startswith(("tls.", "secrets.tls.")) and at(config, want.path) is not None:
            continue
        _put(whole, want.path, {"secure": ""} if want.secret else _stand_in(want, config))
        missing.append(want.path)
    return whole, tuple(missing)


def _stand_in(want: Want, config: Mapping[str, object]) -> str:
    section, *_, last = want.path.split(".")
    if section == "tls":
        return certificates.STAND_IN
    if section == "images":
        given = at(config, want.path)
        image = str(given) if given else f"stand-in.example/{last}:stand-in"
        return image if has_digest(image) else f"{image}@{_DIGEST}"
    if section == "cluster":
        nodes = at(config, "cluster.nodes")
        number = list(nodes if isinstance(nodes, Mapping) else ()).index(want.path.split(".")[2])
        # RFC 2544's networks: nobody's nodes or pods.
        if last == "internalIp":
            return f"198.18.{number // 250}.{number % 250 + 1}"
        return f"198.19.{number // 16}.{number % 16 * 16}/28"
    for candidate in _CANDIDATES:
        try:
            return want.checked(candidate)
        except ValueError:
            continue
    raise AssertionError(f"{want.path} has no stand-in. Fix: add a valid one to _CANDIDATES in settings/standins.py")


def _put(config: dict[str, object], path: str, value: object) -> None:
    *above, last = path.split(".")
    here = config
    for key in above:
        below = here.get(key)
        if not isinstance(below, dict):
            below = {}
            here[key] = below
        here = below
    here[last] = value
