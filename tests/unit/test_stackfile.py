"""Stack files that are no YAML, or say one thing twice."""

import subprocess
import sys
from pathlib import Path

import pytest

from settings import stackfile
from settings.stackfile import ROOT

BROKEN = {
    "config:\n  a: [\n": "line 3, column 1: did not find expected node content. Fix: correct the YAML there",
    "nodes:\n  n1: {a: 1}\n  n1: {a: 2}\n": "line 3, column 3: n1 stands twice. Fix: correct the YAML there",
    "? {a: 1}\n: 2\n": "line 1, column 3: a key that is no text. Fix: correct the YAML there",
    "a: \0": "the file: unacceptable character #x0000: control characters are not allowed."
    " Fix: save it as plain UTF-8 text",
}


@pytest.mark.parametrize(("text", "line"), BROKEN.items())
def test_what_is_no_yaml_is_told_in_one_line_with_its_place(text: str, line: str) -> None:
    with pytest.raises(stackfile.StackFileError) as raised:
        stackfile.parse(text)
    assert str(raised.value) == line


def test_one_key_in_two_objects_is_no_repetition() -> None:
    assert stackfile.parse("a: {x: 1}\nb: {x: 2}\n") == {"a": {"x": 1}, "b": {"x": 2}}


def test_the_command_tells_it_and_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.broken.yaml").write_text("config: [")
    done = subprocess.run(
        [sys.executable, "-m", "settings.check", "broken"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Pulumi.broken.yaml: line 2, column 1: ")
    assert len(done.stderr.splitlines()) == 1
