"""Every command that a runbook gives exists, with its flags, and every page and object it names is there."""

import argparse
import importlib
import importlib.util
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import stacks
from tests.runbooks import PAGES, ROOT, Command, blocks, commands

COMMANDS = list(commands())
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VERBS = {
    "annotate", "apply", "config", "cordon", "create", "debug", "delete", "describe", "drain", "exec", "get", "label",
    "logs", "patch", "port-forward", "rollout", "run", "scale", "taint", "top", "uncordon", "wait",
}  # fmt: skip
# What may change nothing: a block that runs in the sandbox has no other.
READS = {"config get-contexts", "describe", "exec", "get", "logs", "rollout history", "rollout status", "top"}
PULUMI = {"config", "destroy", "login", "preview", "refresh", "stack", "state", "up"}
MAINNET = stacks.settings("mainnet")
OBJECTS = {
    "deployment": {*MAINNET.workers, *MAINNET.services, "redis-proxy", "coredns", "postgres-archive"},
    "cronjob": {"postgres-backup", "redis-backup", "postgres-restore-test", "redis-restore-test"},
    "svc": {*MAINNET.services, "postgres-primary", "postgres-replica", "redis-master", "redis-headless"},
    "pod": {f"{app}-{ordinal}" for app in ("postgres", "redis") for ordinal in range(3)},
    "pvc": {f"{app}-data-{app}-{ordinal}" for app in ("postgres", "redis") for ordinal in range(3)},
}
KINDS = {"deployments": "deployment", "cronjobs": "cronjob", "service": "svc", "services": "svc", "pods": "pod"}


class Parsed(Exception):  # noqa: N818 - no error: the parser has done its part
    """The command line was understood."""


def of(program: str) -> list[Command]:
    return [each for each in COMMANDS if Path(each.words[0]).name == program]


def parametrized(program: str) -> Callable[[Callable[[Command], None]], Callable[[Command], None]]:
    return pytest.mark.parametrize("command", of(program), ids=str)


def test_the_pages_are_full_of_commands() -> None:
    assert {program: len(of(program)) > 3 for program in ("make", "python", "kubectl", "pulumi")} == dict.fromkeys(
        ("make", "python", "kubectl", "pulumi"), True
    )
    assert [block for block in blocks() if block.sandbox]


def test_no_block_of_a_page_goes_unseen() -> None:
    seen = Counter(block.page for block in blocks())
    assert seen == Counter({page: page.read_text().count("```sh") for page in PAGES if "```sh" in page.read_text()})


@parametrized("make")
def test_every_target_exists_and_knows_its_variables(command: Command) -> None:
    for word in command.words[1:]:
        name, given, value = word.partition("=")
        assert name in (set(re.findall(r"\$\(([A-Z_]+)\)", MAKEFILE)) if given else TARGETS), word
        if name == "STACK":
            assert value in {"mainnet", "testnet", "devnet", "drill", "…", "<stack>"}, word


@pytest.mark.parametrize("command", [each for each in of("python") if "-m" in each.words], ids=str)
def test_every_module_parses_the_flags_it_is_given(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    module, *arguments = command.words[command.words.index("-m") + 1 :]
    assert importlib.util.find_spec(module), module
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: object) -> None:
        parse(self, *given)  # type: ignore[call-overload]
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr("sys.argv", [module, *arguments])
    package = importlib.util.find_spec(f"{module}.__main__") if (ROOT / module.replace(".", "/")).is_dir() else None
    with pytest.raises(Parsed):
        importlib.import_module(f"{module}.__main__" if package else module).main()


@parametrized("kubectl")
def test_every_verb_of_kubectl_and_every_object_exists(command: Command) -> None:
    words = without_flags(command)
    assert words, "kubectl alone"
    assert words[0] in VERBS, words[0]
    for word in words:
        kind, slash, name = word.partition("/")
        kind = KINDS.get(kind, kind)
        if slash and kind in OBJECTS and is_name(name):
            assert name in OBJECTS[kind], word
    # `get deployment one two`, and `create job new`, whose name is anything.
    kind = KINDS.get(words[1], words[1]) if len(words) > 1 else ""
    if kind in OBJECTS and words[0] != "create":
        assert [word for word in words[2:] if is_name(word) and word not in OBJECTS[kind]] == []
    # `exec` of a workload's pod is judged above.
    if words[0] == "exec" and is_name(target := "".join(words[1:2])) and "/" not in target:
        assert target in OBJECTS["pod"]


@parametrized("kubectl")
def test_every_namespaced_command_names_its_namespace(command: Command) -> None:
    words = without_flags(command)
    elsewhere = words[0] in {"config", "cordon", "uncordon", "drain", "taint", "label", "top"} or words[1:2] in (
        ["nodes"], ["node"], ["namespaces"], ["pv"], ["storageclasses"],
    )  # fmt: skip
    # `kubectl get` in a sentence is no command yet.
    assert elsewhere or len(command.words) < 4 or {"-n", "-A", "--namespace"} & set(command.words), "which namespace?"


@parametrized("pulumi")
def test_every_command_of_pulumi_exists_and_names_its_stack(command: Command) -> None:
    words = list(command.words)
    assert words[1] in PULUMI, words[1]
    if words[1] not in {"login"} and words[1:3] not in (["stack", "init"], ["stack", "rm"]):
        mention = len(words) < 4 and not any(word.startswith("-") for word in words)
        assert mention or "--stack" in words, "which stack?"


def test_every_link_leads_to_a_page_and_a_section() -> None:
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, section = target.partition("#")
            if path.startswith("http"):
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.is_file() or (section and section not in sections(file)):
                wrong.append(f"{page.name}: {target}")
    assert wrong == []


def test_every_page_is_in_the_index_exactly_where_an_operator_looks() -> None:
    index = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    pages = {page.name for page in PAGES if page.parent.name == "runbooks"} - {"README.md"}
    assert {name for name in pages if f"({name}" not in index} == set()


def test_every_path_of_the_project_that_a_page_names_exists() -> None:
    wrong = []
    for page in PAGES:
        for path in re.findall(
            r"`((?:docs|operations|settings|checks|components|tests|sandbox)/[\w./-]+)`", page.read_text()
        ):
            if not (ROOT / path).exists():
                wrong.append(f"{page.name}: {path}")
    assert wrong == []


def test_what_runs_in_the_sandbox_changes_nothing() -> None:
    for block in (each for each in blocks() if each.sandbox):
        calls = [each for each in COMMANDS if each.where == block.name]
        assert calls, block.name
        for call in calls:
            words = without_flags(call)
            assert words[0] in READS or " ".join(words[:2]) in READS, str(call)


def without_flags(command: Command) -> list[str]:
    """Words of a kubectl command up to ``--``, without flags and their values."""
    valued = {"-n", "-l", "-o", "-c", "-f", "--namespace", "--context", "--output", "--selector", "--container"}
    words: list[str] = []
    skip = False
    for word in command.words[1:]:
        if word == "--":
            break
        if skip or word.startswith("-"):
            skip = not skip and word in valued
            continue
        words.append(word)
    return words


def is_name(word: str) -> bool:
    """Whether a word is an object's own name, and no placeholder of the reader's."""
    return bool(word) and not re.search(r"[<>$…*=X]|migration-|now$|first$|before$|postgres-promote", word)


def sections(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
