"""What one provisioning step sends to a node: a shell program that carries its files as readable text.

Readable, so that ``pulumi preview`` shows the lines of Nginx's configuration that change; in standard input, because a
failed command is printed whole.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from components.templates import render

DELIMITER = "END-OF-GX-FILE"
SETTINGS_FILE = "settings.env"
DRIFT = "drift: "
_LIBRARY = "lib.sh"
_DIRECTORY = Path(__file__).parent
_STEP = _DIRECTORY / "templates/step.sh.j2"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step on one host: ``script`` is a file of ``scripts/``; the others are its files, by relative path.

    Of a ``secret`` step nothing is shown, and it is encrypted in the state.
    """

    title: str
    script: str
    files: Mapping[str, str]
    secret: bool = False

    def stdin(self, reprovision: int) -> str:
        """The program to run with ``bash -s``. The same files and number give the same text.

        Raises ``ValueError`` for a file that cannot travel as text.
        """
        return self._program(reprovision=reprovision, check=False)

    def check(self) -> str:
        """A program for ``bash -s`` that changes nothing.

        It prints a line that begins with ``DRIFT`` for each difference between the host and what the step would do.
        """
        return self._program(reprovision=0, check=True)

    def _program(self, *, reprovision: int, check: bool) -> str:
        files = {**self.files, _LIBRARY: script(_LIBRARY), self.script: script(self.script)}
        for path, content in files.items():
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{path}: not a path inside the step. Fix: give a relative path")
            if not content.endswith("\n") or DELIMITER in content or "\0" in content:
                raise ValueError(f"{path}: not text that ends in a newline and is free of {DELIMITER}. Fix: correct it")
        digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
        return render(
            _STEP,
            title=self.title,
            digest=digest,
            reprovision=reprovision,
            check=check,
            files={path: _Entry(str(PurePosixPath(path).parent), content) for path, content in files.items()},
            script=self.script,
            delimiter=DELIMITER,
        )


def secret_file_step(title: str, path: str, content: str) -> Step:
    """The step that puts a file with something secret onto a node."""
    return Step(
        title=title,
        script="secret-file.sh",
        files={SETTINGS_FILE: settings_file({"SECRET_FILE": path}), "content": content},
        secret=True,
    )


@dataclass(frozen=True)
class _Entry:
    directory: str
    content: str


def settings_file(values: Mapping[str, str]) -> str:
    """Values as the assignments that a script of this package reads; any value is safe."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


@cache
def script(name: str) -> str:
    """A file of ``scripts/``."""
    return (_DIRECTORY / "scripts" / name).read_text(encoding="utf-8")
