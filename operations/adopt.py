"""Adopt a running system into a stack: list what exists, write an import file, import, and preview.

``make adopt STACK=…``. Nothing is replaced or deleted by the first ``up`` of an adopted stack (design decision 12):
what exists already under the names of the stack is imported into its state, the rest is created. The command is
read-only until the import is confirmed, and safe to run again: what is in the state already is not looked for.
"""

import argparse
import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import yaml

from operations.hosts import reachable
from operations.kubectl import kubectl_text
from operations.stack import OperationError, Stack, of_arguments
from settings.loader import SettingsError
from settings.model import Edge, Settings
from settings.stackfile import PROJECT

CLOUDFLARE = "https://api.cloudflare.com/client/v4"
HOST_FILES = "ls -1 /etc/nginx/conf.d/* /etc/nginx/sites-enabled/* /etc/letsencrypt/live/*/fullchain.pem 2>/dev/null"
# Marks a value in the state that is more than JSON, such as an encrypted one.
SIGNATURE = "4dabf18193072939515e22adb298388d"
REFUSED = {"replace", "create-replacement", "delete-replaced", "delete"}


@dataclass(frozen=True)
class Wanted:
    """A resource that the next ``up`` would create."""

    urn: str
    type: str
    inputs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Logical name."""
        return self.urn.split("::")[-1]


def main() -> int:
    """Run the command; 0 when the stack is adopted or only listed, 1 with a message otherwise."""
    parser = argparse.ArgumentParser(prog="make adopt", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="import without asking")
    parser.add_argument("--list", action="store_true", help="list and write the import file only")
    stack, arguments = of_arguments(parser)
    try:
        adopt(stack, confirmed=arguments.yes, list_only=arguments.list)
    except (OperationError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def adopt(stack: Stack, *, confirmed: bool, list_only: bool) -> None:
    """List, write, import and preview; raises ``OperationError`` when the preview would replace or delete anything."""
    settings = stack.settings()
    with tempfile.TemporaryDirectory() as directory:
        wanted, skeleton = _planned(stack, settings, Path(directory))
        ids = _existing(wanted, settings)
        _list(wanted, ids)
        if settings.edge is not None:
            _list_hosts(settings, settings.edge)
        if not ids:
            print("\nNothing of the stack exists outside its state: there is nothing to adopt.")
            return
        found = import_file(skeleton, ids, settings.cluster.kubeconfig)
        path = Path(f"adopt.{stack.name}.json")
        path.write_text(json.dumps(without_provider_inputs(found), indent=2) + "\n")
        print(f"\n{len(ids)} objects can be imported; they are listed in {path}.")
        if list_only:
            return
        if not confirmed and input("Import them into the state of the stack? Only 'yes' imports: ") != "yes":
            print("Nothing was imported.")
            return
        # Files with tokens end with their directory, which only its owner may read.
        before, complete = Path(directory) / "before.json", Path(directory) / "import.json"
        stack.pulumi("stack", "export", "--file", str(before))
        complete.write_text(json.dumps(found))
        try:
            stack.pulumi("import", "--file", str(complete), "--yes", "--protect=false", "--generate-code=false")
            _keep_declared(stack, wanted, Path(directory) / "after.json")
            _check_preview(stack)
        except BaseException:
            # An interruption too: what is imported already is not looked for again, and would be replaced by an `up`.
            stack.pulumi("stack", "import", "--file", str(before))
            print("The state of the stack is as it was before.", file=sys.stderr)
            raise


def prune(found: Any, declared: Any) -> Any:  # noqa: ANN401 - JSON values
    """What was found, reduced to the paths that the program declares. An encrypted value counts as one value."""
    if isinstance(found, dict) and isinstance(declared, dict) and SIGNATURE not in found:
        return {key: prune(value, declared[key]) for key, value in found.items() if key in declared}
    if isinstance(found, list) and isinstance(declared, list) and len(found) == len(declared):
        return [prune(each, wanted) for each, wanted in zip(found, declared, strict=True)]
    return found


def _keep_declared(stack: Stack, wanted: list[Wanted], file: Path) -> None:
    """Reduce the imported inputs to what the program declares.

    An import takes the whole live object for inputs, with what the server filled in. Fields that the program never
    named would then show as removed, and removing a Service's clusterIP means replacing it.
    """
    stack.pulumi("stack", "export", "--file", str(file))
    state = json.loads(file.read_text())
    declared = {resource.urn: resource.inputs for resource in wanted}
    for resource in state["deployment"].get("resources", []):
        if resource["urn"] in declared and resource["type"].startswith("kubernetes:"):
            resource["inputs"] = prune(resource["inputs"], declared[resource["urn"]])
            if "__inputs" in resource.get("outputs", {}):
                resource["outputs"]["__inputs"] = resource["inputs"]
    file.write_text(json.dumps(state))
    stack.pulumi("stack", "import", "--file", str(file))


def import_file(skeleton: Mapping[str, Any], ids: Mapping[str, str], kubeconfig: str | None) -> dict[str, Any]:
    """The engine's own import file, reduced to components, providers and the resources that exist, with identifiers."""
    resources = []
    for resource in skeleton["resources"]:
        if resource["type"] == "pulumi:providers:kubernetes":
            inputs = {name: value for name, value in resource["inputs"].items() if name != "kubeconfig"}
            inputs |= {"kubeconfig": kubeconfig} if kubeconfig else {}
            resources.append(resource | {"inputs": inputs})
        elif resource.get("component") or resource["type"].startswith("pulumi:providers:"):
            resources.append(resource)
        elif (key := f"{resource['type']}::{resource.get('logicalName', resource['name'])}") in ids:
            resources.append(resource | {"id": ids[key]})
    return {"nameTable": dict(skeleton.get("nameTable") or {}), "resources": resources}


def without_provider_inputs(found: Mapping[str, Any]) -> dict[str, Any]:
    """An import file that may be kept and shown: providers are named, what they are configured with is not."""
    shown = [{key: value for key, value in resource.items() if key != "inputs"} for resource in found["resources"]]
    return {**found, "resources": shown}


def _planned(stack: Stack, settings: Settings, directory: Path) -> tuple[list[Wanted], dict[str, Any]]:
    """What the next ``up`` would create, and the engine's import file for it.

    Asked with a cluster that cannot be reached, for then the plugin takes the program's word: it would otherwise try
    each creation on the server, and stop at the first object that exists.
    """
    nowhere = directory / "kubeconfig"
    context = {"name": settings.cluster.context, "context": {"cluster": "nowhere", "user": "nobody"}}
    nowhere.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:9"}}],
                "contexts": [context],
                "users": [{"name": "nobody", "user": {}}],
            }
        )
    )
    content = yaml.safe_load(stack.file.read_text())
    content["config"][f"{PROJECT}:cluster"]["kubeconfig"] = str(nowhere)
    planned = Stack(stack.name, directory / f"Pulumi.{stack.name}.yaml")
    planned.file.write_text(yaml.safe_dump(content))
    template = directory / "planned.json"
    wanted = list(_creations(planned.pulumi("preview", "--json", "--import-file", str(template))))
    skeleton: dict[str, Any] = json.loads(template.read_text()) if template.exists() else {"resources": []}
    return wanted, skeleton


def _creations(preview: str) -> Iterator[Wanted]:
    for step in json.loads(preview[preview.index("{") :])["steps"]:
        state = step.get("newState", {})
        if step["op"] == "create" and state.get("custom"):
            yield Wanted(step["urn"], state["type"], state.get("inputs", {}))


def _key(resource: Wanted) -> str:
    return f"{resource.type}::{resource.name}"


def _existing(wanted: list[Wanted], settings: Settings) -> dict[str, str]:
    """Import identifiers of the resources that exist, by type and logical name."""
    ids: dict[str, str] = {}
    listed: dict[tuple[str, str], set[str]] = {}
    for resource in wanted:
        if resource.type.startswith("kubernetes:"):
            metadata = resource.inputs["metadata"]
            namespace = metadata.get("namespace", "")
            kind = _kubectl_kind(resource.type)
            if (kind, namespace) not in listed:
                listed[kind, namespace] = _kubectl_names(settings, kind, namespace)
            if metadata["name"] in listed[kind, namespace]:
                ids[_key(resource)] = f"{namespace}/{metadata['name']}" if namespace else metadata["name"]
        elif resource.type == "cloudflare:index/dnsRecord:DnsRecord":
            record = _dns_record(settings, resource.inputs)
            if record:
                ids[_key(resource)] = f"{resource.inputs['zoneId']}/{record}"
        elif resource.type == "cloudflare:index/zoneSetting:ZoneSetting":
            # A zone always has each of its settings.
            ids[_key(resource)] = f"{resource.inputs['zoneId']}/{resource.inputs['settingId']}"
    return ids


def _kubectl_kind(token: str) -> str:
    """``kubernetes:apps/v1:Deployment`` as kubectl names it: ``Deployment.v1.apps``."""
    _, group_version, kind = token.split(":")
    group, _, version = group_version.rpartition("/")
    return f"{kind}.{version}." + ("" if group in {"", "core"} else group)


def _kubectl_names(settings: Settings, kind: str, namespace: str) -> set[str]:
    where = ("--namespace", namespace) if namespace else ()
    listed = kubectl_text(settings.cluster, "get", kind, "--ignore-not-found", "-o", "name", *where)
    return {line.partition("/")[2] for line in listed.splitlines()}


def _dns_record(settings: Settings, inputs: Mapping[str, Any]) -> str | None:
    token = settings.secrets.cloudflare_api_token
    base = (settings.dns and settings.dns.base_url) or CLOUDFLARE
    query = urlencode({"type": "A", "name": inputs["name"], "content": inputs["content"]})
    headers = {"Authorization": f"Bearer {token.get_secret_value() if token else ''}"}
    # S310: the scheme comes from the operator's own stack file.
    request = urllib.request.Request(f"{base}/zones/{inputs['zoneId']}/dns_records?{query}", headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310 - the same request
            records = json.load(answer)["result"]
    except HTTPError as error:
        fix = "check secrets.cloudflareApiToken and dns.zoneId"
        raise OperationError(f"Cloudflare at {base}: HTTP {error.code}. Fix: {fix}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        said = getattr(reason, "strerror", None) or reason
        raise OperationError(f"Cloudflare at {base}: {said}. Fix: run it where {base} can be reached") from None
    return next((str(each["id"]) for each in records if each["content"] == inputs["content"]), None)


def _list(wanted: list[Wanted], ids: Mapping[str, str]) -> None:
    for resource in wanted:
        found = ids.get(_key(resource))
        if found or resource.type.startswith(("kubernetes:", "cloudflare:")):
            print(f"{'exists ' if found else 'missing'}  {resource.type.split(':')[-1]:<24} {found or resource.name}")


def _list_hosts(settings: Settings, edge: Edge) -> None:
    """Foreign files on the edge nodes; the first provisioning backs them up before it writes."""
    with reachable(settings) as hosts:
        for node in edge.nodes:
            try:
                found = hosts.run(node, HOST_FILES).stdout
            except OperationError as error:
                print(f"unknown  {node}: {error}")
                continue
            for line in found.splitlines():
                print(f"on host  {node}: {line}")


def _check_preview(stack: Stack) -> None:
    preview = stack.pulumi("preview", "--json")
    steps = json.loads(preview[preview.index("{") :])["steps"]
    refused = [step for step in steps if step["op"] in REFUSED]
    if refused:
        lines = "\n".join(f"  {step['op']} {step['urn'].split('::')[-1]}" for step in refused)
        raise OperationError(f"The preview after the import would replace or delete:\n{lines}\nNothing of it was done.")
    changed = sum(step["op"] == "update" for step in steps)
    created = sum(step["op"] == "create" for step in steps)
    print(f"\nAdopted. The next `pulumi up` updates {changed} and creates {created}; it replaces and deletes nothing.")


if __name__ == "__main__":
    sys.exit(main())
