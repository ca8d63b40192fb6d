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
    "expires: 2027-02-30\n": "line 1, column 10: no such day, number or truth value. Fix: correct the YAML there",
    f"a: {'9' * 5000}\n": "line 1, column 4: no such day, number or truth value. Fix: correct the YAML there",
    "a: !!bool maybe\n": "line 1, column 4: no such day, number or truth value. Fix: correct the YAML there",
    "a: !!timestamp x\n": "line 1, column 4: no such day, number or truth value. Fix: correct the YAML there",
    "a: &a\n  b: *a\n": "line 1, column 4: found unconstructable recursive node. Fix: correct the YAML there",
    f"a: {'[' * 3000}{']' * 3000}": "the file: nested too deeply. Fix: start it as a copy of another stack's",
}


@pytest.mark.parametrize(("text", "line"), BROKEN.items())
def test_what_is_no_yaml_is_told_in_one_line_with_its_place(text: str, line: str) -> None:
    with pytest.raises(stackfile.StackFileError) as raised:
        stackfile.parse(text)
    assert str(raised.value) == line


def test_one_key_in_two_objects_is_no_repetition() -> None:
    assert stackfile.parse("a: {x: 1}\nb: {x: 2}\n") == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_key_is_text_whatever_it_reads_as() -> None:
    assert stackfile.parse("2027-02-03: a\non: b\n0755: c\n") == {"2027-02-03": "a", "on": "b", "0755": "c"}
    assert stackfile.parse("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")["b"] == {"x": 1, "y": 2}


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


@pytest.mark.parametrize("module", ["settings.check", "settings.configure", "checks", "operations.report.facts"])
def test_no_command_shows_a_traceback_of_a_file_that_is_no_text(tmp_path: Path, module: str) -> None:
    (tmp_path / "Pulumi.latin.yaml").write_bytes("config: {a: é}\n".encode("latin-1"))
    more = {"operations.report.facts": ["--file", "Pulumi.latin.yaml", "--today", "2026-11-25", "--output", "facts"]}
    done = subprocess.run(
        [sys.executable, "-m", module, "latin", *more.get(module, ())],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = (tmp_path / "facts").read_text() if module in more else done.stderr
    assert "byte 13 is no UTF-8. Fix: save it as plain UTF-8 text" in told
    assert "Traceback" not in done.stderr
