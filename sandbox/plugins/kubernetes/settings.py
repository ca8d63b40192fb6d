"""The provider's own configuration: ``kubernetes.Provider`` arguments as the SDK sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sandbox.plugins.kubernetes.kinds import ANNOUNCEMENT
from sandbox.plugins.provider import Properties, ProviderError
from sandbox.plugins.values import Json, plain

_KNOWN = frozenset(
    {
        *("kubeconfig", "context", "cluster", "namespace", "clusterIdentifier"),
        *("enableServerSideApply", "enableConfigMapMutable", "enableSecretMutable", "enablePatchForce"),
        *("upsertExistingObjects", "deleteUnreachable", "skipUpdateUnreachable", "kubeClientSettings"),
        *("suppressDeprecationWarnings", "suppressHelmHookWarnings", "version", "pluginDownloadURL"),
    }
)
"""Accepted provider arguments. Those without a field below change nothing here: the stand-in gives no such warnings,
and has its own limits of time and connections."""


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
    return Settings(
        kubeconfig=kubeconfig if isinstance(kubeconfig, str) else json.dumps(kubeconfig),
        context=str(given.get("context") or ""),
        cluster=str(given.get("cluster") or ""),
        namespace=str(given.get("namespace") or ""),
        configmap_mutable=flag(given.get("enableConfigMapMutable")),
        secret_mutable=flag(given.get("enableSecretMutable")),
        patch_force=flag(given.get("enablePatchForce")),
        upsert=flag(given.get("upsertExistingObjects")),
        delete_unreachable=flag(given.get("deleteUnreachable")),
        skip_unreachable=flag(given.get("skipUpdateUnreachable")),
    )


def flag(value: Json) -> bool:
    """A boolean argument; the SDK sends provider arguments as JSON text."""
    return value is True or value == "true"
