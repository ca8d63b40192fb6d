"""What must not be lost and what must not be seen."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence

from checks.objects.model import Breach, Declared, items, mapping, of_kind, pods, where
from settings.problems import Problem
from settings.rules_secrets import SHORTEST_PASSWORD

PROTECTED_STACKS = frozenset({"mainnet", "testnet"})
HOLDERS = ("Namespace", "StatefulSet", "PersistentVolumeClaim")
"""What is deleted with its data: a namespace with all it holds, and claims with their volumes."""

_SECRET_NAME = re.compile(r"(?i)(password|passwd|passphrase|secret|token|credentials?|(api|access|private)[_.-]?key)$")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
# Scripts put a URL together from variables: $NAME, ${NAME}, $(NAME), {name}, <name> or %s. Everything else is clear
# text, be a part of it written as %40.
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@]*:(?![$%{<])[^\s/@]+@")


def protected(declared: Sequence[Declared]) -> Iterator[Breach]:
    """What holds data cannot be deleted by a mistake (NS-12)."""
    for holder in of_kind(declared, *HOLDERS):
        if holder.stack in PROTECTED_STACKS and not holder.protect:
            yield holder, Problem(where(holder), "a deletion would take its data along", "set the option protect")


def nothing_in_clear(declared: Sequence[Declared]) -> Iterator[Breach]:
    """Secrets stand in Secrets, and everything else refers to them (SEC-05, SEC-06). No report shows one."""
    for pod in pods(declared):
        for path, container in pod.containers():
            for variable in items(container, "env"):
                if variable.get("value") and _SECRET_NAME.search(str(variable.get("name"))):
                    fix = "refer to a Secret with valueFrom.secretKeyRef"
                    yield pod.owner, Problem(f"{path}.env[{variable['name']}]", "a secret in clear", fix)
    for config in of_kind(declared, "ConfigMap"):
        for key in mapping(config.inputs, "data"):
            if _SECRET_NAME.search(key):
                yield config, Problem(f"{where(config)}.data.{key}", "a secret in clear", "move it to a Secret")
    for each in declared:
        if each.in_cluster and each.kind != "Secret":
            for path, text in leaves(each.inputs):
                if _PRIVATE_KEY.search(text) or _PASSWORD_IN_URL.search(text):
                    yield each, Problem(f"{where(each)}.{path}", "a key or a password in clear", "move it to a Secret")


def nothing_copied_from_a_secret(declared: Sequence[Declared]) -> Iterator[Breach]:
    """No value of a Secret of this stack stands in another object.

    Shorter ones may be names, which are no secret; nor is a certificate, which stands beside its key.
    """
    secret = {
        value
        for each in of_kind(declared, "Secret")
        for value in _values(each)
        if len(value) >= SHORTEST_PASSWORD and not value.startswith("-----BEGIN CERTIFICATE-----")
    }
    for each in declared:
        if each.in_cluster and each.kind != "Secret":
            for path, text in leaves(each.inputs):
                if any(value in text for value in secret):
                    yield each, Problem(f"{where(each)}.{path}", "a value of a Secret in clear", "refer to the Secret")


def _values(secret: Declared) -> Iterator[str]:
    for value in mapping(secret.inputs, "stringData").values():
        yield str(value)
    for value in mapping(secret.inputs, "data").values():
        try:
            yield base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence):
        for index, each in enumerate(value):
            yield from leaves(each, f"{path}[{index}]")
