"""What the sandbox builds from source and installs from Debian."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.processes import SandboxError
from sandbox.toolchain import modules, packages, prerequisites
from sandbox.toolchain.build import key, require_disk, required_go
from sandbox.toolchain.modules import MODULES, Module, module_of


@pytest.fixture
def module(tmp_path: Path) -> Module:
    (tmp_path / "go.mod").write_text("module example\n\ngo 1.25.1\n")
    (tmp_path / "main.go").write_text("package main\n")
    return Module(name="example", directory=tmp_path, tools={"example": "."})


def test_a_change_of_pins_sources_flags_or_compiler_makes_another_build(module: Module) -> None:
    keys = [key(module, "1.26.0"), key(module, "1.26.1"), key(replace(module, variables={"version": "2"}), "1.26.0")]
    for name in ("go.mod", "go.sum", "main.go", "sub/other.go"):
        path = module.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.read_text() + "// changed\n" if path.exists() else "new\n")
        keys.append(key(module, "1.26.0"))
    assert len(set(keys)) == len(keys)


def test_tests_and_the_checkouts_place_do_not_make_another_build(module: Module, tmp_path: Path) -> None:
    before = key(module, "1.26.0")
    (module.directory / "main_test.go").write_text("package main\n")
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    module.directory.rename(moved)
    assert key(replace(module, directory=moved), "1.26.0") == before


def test_the_go_version_a_module_asks_for_is_read_from_its_pins(module: Module) -> None:
    assert required_go(module) == "1.25.1"


def test_every_program_has_one_module_and_an_unknown_one_is_refused_with_the_known_names() -> None:
    names = [name for module in MODULES for name in module.tools]
    assert len(names) == len(set(names))
    assert module_of("kubectl").name == "kubernetes"
    with pytest.raises(KeyError, match=r"no tool 'kubctl'; tools: coredns, .*kubectl"):
        module_of("kubctl")


@pytest.mark.parametrize(
    ("name", "path", "version"),
    [
        ("kubernetes", "k8s.io/kubernetes", modules.KUBERNETES_VERSION),
        ("pulumi", "github.com/pulumi/pulumi/pkg/v3", modules.PULUMI_VERSION),
        ("kwok", "sigs.k8s.io/kwok", modules.KWOK_VERSION),
    ],
)
def test_a_program_reports_the_version_that_its_pins_fetch(name: str, path: str, version: str) -> None:
    module = next(module for module in MODULES if module.name == name)
    pins = (module.directory / "go.mod").read_text()
    assert re.search(rf"^\s*(require )?{re.escape(path)} v{re.escape(version)}( // indirect)?$", pins, re.MULTILINE)
    assert any(value.lstrip("v") == version for value in module.variables.values())


def test_the_engine_is_of_the_same_version_as_the_sdk() -> None:
    pinned = (Path(modules.__file__).parents[2] / "requirements.txt").read_text()
    assert f"\npulumi=={modules.PULUMI_VERSION} " in pinned


def test_every_package_has_a_reason() -> None:
    listed = packages.wanted(packages.LIST.read_text())
    assert "containerd" in listed
    assert all(listed.values())
    with pytest.raises(SandboxError, match=r":2: 'nginx' has no reason\. Write `nginx  # what needs it`"):
        packages.wanted("# heading\nnginx\n")


def test_servers_of_new_packages_are_kept_from_starting_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "_POLICY", policy)
    with pytest.raises(RuntimeError), packages._nothing_starts():
        assert "exit 101" in policy.read_text()
        assert policy.stat().st_mode & 0o111
        raise RuntimeError
    assert not policy.exists()


def test_a_policy_of_the_machine_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.setattr(packages, "_POLICY", policy)
    with packages._nothing_starts():
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.exists()


def test_a_package_that_cannot_be_had_is_named_with_what_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = tmp_path / "packages.txt"
    listing.write_text("pebble  # certificate authority\nrunc  # containers\n")
    monkeypatch.setattr(packages, "LIST", listing)
    monkeypatch.setattr(packages, "_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages, "_installed", lambda: {"bash"})
    monkeypatch.setattr(packages, "_apt", lambda _, *names: "no such package" if "pebble" in names else None)
    with pytest.raises(SandboxError) as caught:
        packages.install()
    assert str(caught.value) == (
        "package pebble cannot be installed; it is needed for: certificate authority. apt-get says: no such package"
    )


def test_another_system_or_too_little_disk_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    fine = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
    assert prerequisites._system(fine, "x86_64") is None
    said = prerequisites._system({**fine, "VERSION_ID": "11", "PRETTY_NAME": "Debian GNU/Linux 11"}, "x86_64")
    assert said == "Debian GNU/Linux 11 on x86_64: Debian 12 on x86_64 is needed. Use a virtual machine of it"
    with pytest.raises(SandboxError, match=r"GB are needed\. Free some, or set XDG_CACHE_HOME"):
        require_disk(tmp_path, 1 << 60)
