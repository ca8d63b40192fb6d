"""The pulumi wrapper's reading of a command line, and the installation of engine and stand-ins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.plugins.engine import selected_stack, stack_of, takes_stack_file
from sandbox.plugins.install import install


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("preview --stack testnet", "testnet"),
        ("up -s organization/gx-backend-infra/mainnet --yes", "mainnet"),
        ("up --stack=devnet", "devnet"),
        ("up", ""),
    ],
)
def test_the_stack_is_found_however_it_is_given(line: str, expected: str) -> None:
    assert stack_of(line.split()) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("preview --stack testnet", True),
        ("--color never up", True),
        ("config get x", True),
        ("up --config-file mine.yaml", False),
        ("up --config-file=mine.yaml", False),
        ("stack output", False),
        ("version", False),
        ("", False),
    ],
)
def test_only_commands_that_read_a_stack_file_get_one(line: str, expected: bool) -> None:
    assert takes_stack_file(line.split()) is expected


def test_the_selected_stack_is_the_one_selected_last(tmp_path: Path) -> None:
    assert selected_stack(tmp_path) == ""
    (tmp_path / "workspaces").mkdir()
    (tmp_path / "workspaces" / "p-1-workspace.json").write_text('{"stack": "organization/p/testnet"}')
    assert selected_stack(tmp_path) == "testnet"


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_missing_plugins_are_replaced_by_stand_ins_beside_the_engine(tmp_path: Path) -> None:
    engine = executable(tmp_path / "built" / "pulumi")
    done = install(tmp_path / "home", engine, "/nowhere")
    assert done.engine == tmp_path / "home" / "bin" / "pulumi"
    assert (done.engine.parent / "pulumi-language-python").resolve().exists()
    assert done.stand_ins == ("language-python", "resource-kubernetes", "resource-cloudflare", "resource-command")
    assert install(tmp_path / "home", engine, "/nowhere") == done


def test_a_new_engine_replaces_the_linked_one(tmp_path: Path) -> None:
    done = install(tmp_path / "home", executable(tmp_path / "1" / "pulumi", "one"), "/nowhere")
    install(tmp_path / "home", executable(tmp_path / "2" / "pulumi", "another"), "/nowhere")
    assert done.engine.read_text() == "another"


def test_real_plugins_are_used_where_they_are(tmp_path: Path) -> None:
    engine = executable(tmp_path / "real" / "pulumi")
    executable(tmp_path / "real" / "pulumi-language-python")
    executable(tmp_path / "real" / "pulumi-resource-kubernetes")
    install(tmp_path / "home", engine, "/nowhere")
    done = install(tmp_path / "home", engine, str(tmp_path / "real"))
    assert done.engine == engine
    assert done.stand_ins == ("resource-cloudflare", "resource-command")
    assert not list((tmp_path / "home" / "plugins").glob("resource-kubernetes-*"))


def test_an_installed_real_plugin_is_left_alone(tmp_path: Path) -> None:
    engine = executable(tmp_path / "real" / "pulumi")
    install(tmp_path / "home", engine, "/nowhere")
    launcher = next((tmp_path / "home" / "plugins").glob("resource-kubernetes-*/pulumi-resource-kubernetes"))
    launcher.unlink()
    executable(launcher, "real")
    done = install(tmp_path / "home", engine, "/nowhere")
    assert "resource-kubernetes" not in done.stand_ins
    assert launcher.read_text() == "real"


def test_commands_that_start_at_once_find_the_same_engine(tmp_path: Path) -> None:
    # rename(2) does nothing when both names are links to one file, and says that it succeeded.
    engine = executable(tmp_path / "built" / "pulumi")
    with ThreadPoolExecutor(4) as commands:
        for attempt in range(50):
            home = tmp_path / f"home-{attempt}"
            done = set(commands.map(lambda _, home=home: install(home, engine, "/nowhere"), range(4)))
            assert len(done) == 1
            assert {path.name for path in (home / "bin").iterdir()} == {"pulumi", "pulumi-language-python"}
