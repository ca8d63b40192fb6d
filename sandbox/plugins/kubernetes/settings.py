"""The provider's own configuration: ``kubernetes.Provider`` arguments as the SDK sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sandbox.plugins.kubernetes.kinds import ANNOUNCEMENT
from sandbox.plugins.provider import Properties, ProviderError
from sandbox.plugins.values import Json, plain

_IGNORED = frozenset({"version", "pluginDownloadURL", "suppressDeprecationWarnings", "suppressHelmHookWarnings"})
_FLAGS = {
    "enableConfigMapMutable": "configmap_mutable",
    "enableSecretMutable": "secret_mutable",
    "enablePatchForce": "patch_force",
    "upsertExistingObjects": "upsert",
    "deleteUnreachable": "delete_unreachable",
    "skipUpdateUnreachable": "skip_unreachable",
}
_STRINGS = {"kubeconfig": "kubeconfig", "context": "context", "cluster": "cluster", "namespace": "namespace"}
_KNOWN = (
    _IGNORED | _FLAGS.keys() | _STRINGS.keys() | {"clusterIdentifier", "enableServerSideApply", "kubeClientSettings"}
)


@dataclass(frozen=True)
class Settings:
    """What the stand-in honours of the provider's configuration."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    configmap_mutable: bool = False
    secret_mutable: bool = False
    patch_force: bool = False
    upsert: bool = False
    delete_unreachable: bool = False
    skip_unreachable: bool = False


def parse(inputs: Properties) -> Settings:
    """Settings from provider inputs. Raises :class:`ProviderError` on an argument the stand-in would not honour."""
    given = {key: value for key, value in plain(inputs).items() if value is not None and not key.startswith("__")}
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        message = f"{ANNOUNCEMENT}: provider argument(s) {', '.join(unknown)} are not available; use the real plugin"
        raise ProviderError(message)
    if not flag(given.get("enableServerSideApply", True)):
        message = f"{ANNOUNCEMENT}: enableServerSideApply=False is not available; remove it or use the real plugin"
        raise ProviderError(message)
    kubeconfig = given.get("kubeconfig", "")
    texts = {name: str(given.get(key) or "") for key, name in _STRINGS.items()}
    texts["kubeconfig"] = kubeconfig if isinstance(kubeconfig, str) else json.dumps(kubeconfig)
    return Settings(**texts, **{name: flag(given.get(key, False)) for key, name in _FLAGS.items()})


def flag(value: Json) -> bool:
    """A boolean argument; the SDK sends provider arguments as JSON text."""
    return value is True or value == "true"
