"""The JSON Schema of a whole ``Pulumi.<stack>.yaml``, with which an editor underlines mistakes while they are typed.

``python -m settings.schema`` writes ``settings/schema.json``; with ``--check`` it fails when that file is stale.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from settings.model import Settings
from settings.stackfile import PROJECT

PATH = Path(__file__).parent / "schema.json"

_ENCRYPTED = {
    "type": "object",
    "description": "Encrypted by `pulumi config set --secret`.",
    "properties": {"secure": {"type": "string"}},
    "required": ["secure"],
    "additionalProperties": False,
}


def schema() -> str:
    """The schema's text."""
    config = _encrypted(Settings.model_json_schema(by_alias=True))
    definitions = config.pop("$defs")
    known = "|".join(config["properties"])
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file of gx-backend-infra",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "description": config["description"],
                "properties": {f"{PROJECT}:{key}": value for key, value in config["properties"].items()},
                "required": [f"{PROJECT}:{key}" for key in config["required"]],
                "patternProperties": {f"^{PROJECT}:(?!(?:{known})$)": False},
            },
            "encryptionsalt": {"type": "string", "description": "Written by the engine for its passphrase."},
        },
        "required": ["config"],
        "$defs": definitions,
    }
    return json.dumps(whole, indent=2) + "\n"


def main() -> int:
    """Write the schema, or check that the written one is current."""
    parser = argparse.ArgumentParser(prog="python -m settings.schema", description="JSON Schema of the stack files.")
    parser.add_argument("--check", action="store_true", help="fail when settings/schema.json is stale; write nothing")
    text = schema()
    if not parser.parse_args().check:
        PATH.write_text(text, encoding="utf-8")
    elif not PATH.exists() or PATH.read_text(encoding="utf-8") != text:
        print("settings/schema.json is stale. Fix: make schema", file=sys.stderr)
        return 1
    return 0


def _encrypted(node: Any) -> Any:  # noqa: ANN401 - a JSON value
    """A schema in which a secret is what stands in the file: an encrypted value, never the secret itself."""
    if isinstance(node, dict):
        if node.get("format") == "password":
            return _ENCRYPTED
        return {key: _encrypted(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_encrypted(value) for value in node]
    return node


if __name__ == "__main__":
    sys.exit(main())
