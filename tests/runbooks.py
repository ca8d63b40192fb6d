"""The commands that the runbooks give: of their shell blocks, and of the text between.

A block whose fence says ``sh sandbox`` only reads, and runs on the sandbox as it stands.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_DOCS = ROOT / "docs"
PAGES = (*sorted((_DOCS / "runbooks").glob("*.md")), _DOCS / "logging.md", _DOCS / "alerting.md")
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[a-z ]*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_PROGRAMS = ("make", "python", "kubectl", "pulumi")
_SEPARATORS = {"|", "||", "&&", ";", "&", "(", ")", "$("}


@dataclass(frozen=True)
class Block:
    """A fenced shell block of a page."""

    page: Path
    line: int
    script: str
    sandbox: bool

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One call of a program that the runbooks are about; ``words`` starts with its name."""

    where: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"


def blocks() -> Iterator[Block]:
    """Every shell block of every page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            info = found["info"].split()
            if info[:1] == ["sh"]:
                indent = len(found["indent"])
                script = "".join(line[indent:] if line.strip() else line for line in found["body"].splitlines(True))
                yield Block(page, text.count("\n", 0, found.start()) + 1, script, "sandbox" in info)


def commands() -> Iterator[Command]:
    """Every command of the pages' blocks, and of their text, where it is written as one."""
    for block in blocks():
        for line in block.script.replace("\\\n", " ").splitlines():
            yield from _calls(block.name, line)
    for page in PAGES:
        prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
        for span in _SPAN.findall(prose):
            line = " ".join(span.split())
            if line.startswith(tuple(f"{program} " for program in _PROGRAMS)):
                yield from _calls(page.name, line)


def _calls(where: str, line: str) -> Iterator[Command]:
    """The calls in a line of shell, those inside of ``$(...)`` as well."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from _calls(where, inner)
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "X", line), posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, ";"]:
        if word in _SEPARATORS:
            if call and Path(call[0]).name in _PROGRAMS:
                yield Command(where, tuple(call))
            call = []
        elif call or "=" not in word:
            call.append(word)
