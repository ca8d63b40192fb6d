"""A small Kubernetes REST client: JSON over pooled TLS connections, no discovery, no models."""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

from sandbox.plugins.provider import ProviderError

_POOL_SIZE = 64
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_THROTTLED_TRIES = 8


class ApiError(ProviderError):
    """The API server refused a request. ``reason`` is the machine-readable reason of its Status object."""

    def __init__(self, code: int, status: dict[str, Any]) -> None:
        super().__init__(str(status.get("message") or f"HTTP {code}"))
        self.code = code
        self.reason = str(status.get("reason", ""))
        self.details: dict[str, Any] = status.get("details") or {}

    @property
    def namespace_missing(self) -> bool:
        """Whether the request failed because the object's namespace does not exist."""
        return self.code == 404 and self.details.get("kind") == "namespaces"


class UnreachableError(ProviderError):
    """No answer from the API server."""


@dataclass(frozen=True)
class Cluster:
    """What of a kubeconfig matters: where the API server is, and who we are. Two equal ones are the same cluster."""

    server: str
    authority: str
    insecure: bool
    namespace: str
    tls_server_name: str
    credentials: str

    @property
    def identity(self) -> tuple[str, str, bool, str]:
        """The part whose change means another cluster: everything but user and namespace."""
        return (self.server, self.authority, self.insecure, self.tls_server_name)


def load_cluster(kubeconfig: str, context: str, cluster: str) -> Cluster:
    """The active cluster of a kubeconfig given as content or path, or of ``KUBECONFIG`` when empty.

    Raises :class:`ProviderError` when it cannot be read, names something it does not hold, or authenticates by a helper
    program.
    """
    text, origin = _kubeconfig_text(kubeconfig)
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        message = f"kubeconfig {origin} is not YAML: {error}"
        raise ProviderError(message) from error
    context_name = context or document.get("current-context", "")
    chosen = _named(document, "contexts", context_name, "context", origin)
    cluster_name = cluster or chosen.get("cluster", "")
    target = _named(document, "clusters", cluster_name, "cluster", origin)
    user = _named(document, "users", chosen.get("user", ""), "user", origin)
    for unsupported in ("exec", "auth-provider"):
        if unsupported in user:
            message = (
                f"kubeconfig {origin}: the stand-in cannot authenticate by '{unsupported}'; use a token or certificate"
            )
            raise ProviderError(message)
    return Cluster(
        server=str(target.get("server", "")).rstrip("/"),
        authority=_inline(target, "certificate-authority"),
        insecure=bool(target.get("insecure-skip-tls-verify", False)),
        namespace=str(chosen.get("namespace", "")),
        tls_server_name=str(target.get("tls-server-name", "")),
        credentials=json.dumps(
            {
                "token": user.get("token", ""),
                "certificate": _inline(user, "client-certificate"),
                "key": _inline(user, "client-key"),
            }
        ),
    )


def _kubeconfig_text(kubeconfig: str) -> tuple[str, str]:
    if "\n" in kubeconfig or kubeconfig.lstrip().startswith("{"):
        return kubeconfig, "(given as content)"
    path = Path(kubeconfig or os.environ.get("KUBECONFIG", "").split(":")[0] or Path.home() / ".kube" / "config")
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        message = f"kubeconfig {path} cannot be read: {error.strerror}. Set kubernetes:kubeconfig or KUBECONFIG."
        raise ProviderError(message) from error


def _named(document: dict[str, Any], section: str, name: str, noun: str, origin: str) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if entry.get("name") == name:
            return dict(entry.get(noun) or {})
    message = f"kubeconfig {origin} has no {noun} named {name!r}"
    raise ProviderError(message)


def _inline(entry: dict[str, Any], key: str) -> str:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    if key in entry:
        return Path(entry[key]).read_text(encoding="utf-8")
    return ""


class Client:
    """Requests to one API server; safe to share between threads. Connects on the first request."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        credentials = json.loads(cluster.credentials)
        self._headers = {"Authorization": f"Bearer {credentials['token']}"} if credentials["token"] else {}
        context = ssl.create_default_context(cadata=cluster.authority or None)
        if cluster.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credentials["certificate"]:
            with tempfile.NamedTemporaryFile(mode="w", suffix=".pem") as pair:
                pair.write(f"{credentials['certificate']}\n{credentials['key']}")
                pair.flush()
                context.load_cert_chain(pair.name)
        tls: dict[str, Any] = {"ssl_context": context} if cluster.server.startswith("https") else {}
        if tls and cluster.tls_server_name:
            tls["server_hostname"] = cluster.tls_server_name
        self._pool = urllib3.connection_from_url(
            cluster.server,
            maxsize=_POOL_SIZE,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=False,
            **tls,
        )

    def get(self, path: str) -> dict[str, Any]:
        """The object or list at ``path``."""
        return self._json("GET", path)

    def post(self, path: str, body: dict[str, Any], **query: str) -> dict[str, Any]:
        """Create ``body`` in the collection at ``path``."""
        return self._json("POST", path, body, query, "application/json")

    def patch(self, path: str, body: object, content_type: str, **query: str) -> dict[str, Any]:
        """Patch the object at ``path``; ``content_type`` names the patch format."""
        return self._json("PATCH", path, body, query, content_type)

    def delete(self, path: str, propagation: str) -> None:
        """Ask for the deletion of the object at ``path``; it may take time to be gone."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        self._json("DELETE", path, options, None, "application/json")

    def watch(self, collection: str, name: str, seconds: float) -> Iterator[dict[str, Any] | None]:
        """The object's states for at most ``seconds``, the present one first; ``None`` when it does not exist.

        The server may end a watch early; the caller then watches again.
        """
        selector = {"fieldSelector": f"metadata.name={name}"}
        listing = self._json("GET", f"{collection}?{urlencode(selector)}")
        items = listing.get("items") or []
        yield self._typed(listing, items[0]) if items else None
        query = {
            **selector,
            "watch": "1",
            "resourceVersion": listing["metadata"]["resourceVersion"],
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        response = self._request("GET", f"{collection}?{urlencode(query)}", None, {}, stream=True, read=seconds + 5)
        try:
            buffered = b""
            for chunk in response.stream(65536):
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield None if event["type"] == "DELETED" else event["object"]
        except urllib3.exceptions.HTTPError:
            return
        finally:
            response.close()

    @staticmethod
    def _typed(listing: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        """A list's item with the apiVersion and kind that lists leave out."""
        return {"apiVersion": listing["apiVersion"], "kind": str(listing["kind"]).removesuffix("List"), **item}

    def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        content_type: str = "",
    ) -> dict[str, Any]:
        url = f"{path}?{urlencode(query)}" if query else path
        headers = {"Content-Type": content_type} if content_type else {}
        data = json.dumps(body).encode() if body is not None else None
        for attempt in range(_THROTTLED_TRIES):
            response = self._request(method, url, data, headers)
            if response.status != 429 or attempt == _THROTTLED_TRIES - 1:
                break
            time.sleep(float(response.headers.get("Retry-After", "1")))
        try:
            document: dict[str, Any] = json.loads(response.data)
        except ValueError:
            document = {"message": response.data.decode(errors="replace")}
        if response.status >= 400:
            raise ApiError(response.status, document)
        return document

    def _request(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: dict[str, str],
        *,
        stream: bool = False,
        read: float = _READ_SECONDS,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.urlopen(
                method,
                url,
                body=data,
                headers={**self._headers, "Accept": "application/json", **headers},
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read),
            )
        except urllib3.exceptions.HTTPError as error:
            message = f"configured Kubernetes cluster is unreachable: {self.cluster.server}: {error}"
            raise UnreachableError(message) from error
