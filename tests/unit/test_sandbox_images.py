"""Images made by hand: their digests, names and what containers find in them."""

import errno
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from sandbox.images import definitions, oci
from sandbox.images.containerd import can_link
from sandbox.images.oci import Image, ImageConfig, Layer

CONFIG = ImageConfig(env={"PATH": "/bin"}, command=("run",), volumes=("/data",), labels={})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "run").write_text("#!/bin/sh\n")
    (root / "bin" / "run").chmod(0o755)
    (root / "bin" / "again").symlink_to("run")
    os.link(root / "bin" / "run", root / "bin" / "same")
    os.mkfifo(root / "pipe")
    (root / "data").mkdir()
    (root / "data").chmod(0o1777)
    return root


def archive(layer: Layer, target: Path, *refs: str) -> Path:
    oci.write_archive([Image(refs=refs, layer=layer, config=CONFIG)], target)
    return target


def test_equal_content_has_an_equal_digest_whenever_and_wherever_it_was_made(tree: Path, tmp_path: Path) -> None:
    first = oci.layer_from_directory(tree, tmp_path / "first.tar")
    for path in tree.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    moved = tree.rename(tmp_path / "elsewhere")
    assert oci.layer_from_directory(moved, tmp_path / "second.tar").digest == first.digest
    (moved / "bin" / "run").write_text("#!/bin/bash\n")
    assert oci.layer_from_directory(moved, tmp_path / "third.tar").digest != first.digest


def test_a_layer_keeps_modes_and_links_and_leaves_out_what_is_no_file(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(oci.layer_from_directory(tree, tmp_path / "layer.tar").path) as tar:
        entries = {entry.name: entry for entry in tar}
        assert set(entries) == {"bin", "bin/again", "bin/run", "bin/same", "data"}
        assert entries["data"].mode == 0o1777
        assert entries["bin/again"].linkname == "run"
        assert entries["bin/same"].islnk()
        content = tar.extractfile("bin/run")
        assert content is not None
        assert content.read() == b"#!/bin/sh\n"


def test_a_program_is_executable_and_owned_by_root(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    with tarfile.open(oci.layer_from_program(program, "standin", tmp_path / "layer.tar").path) as tar:
        entry = tar.getmember("standin")
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o755, 0, 0, 0)


def test_an_image_is_found_by_its_tag_and_by_its_digest(tree: Path, tmp_path: Path) -> None:
    layer = oci.layer_from_directory(tree, tmp_path / "layer.tar")
    refs = ("ghcr.io/a/one:sandbox", "localhost:5000/two:1")
    target = archive(layer, tmp_path / "archive.tar", *refs)
    digest = oci.digests(target)["ghcr.io/a/one:sandbox"]
    assert oci.digests(target) == dict.fromkeys(refs, digest)
    with tarfile.open(target) as tar:
        index = json.loads(_content(tar, "index.json"))
        names = {entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]}
        assert names == {*refs, f"ghcr.io/a/one@{digest}", f"localhost:5000/two@{digest}"}
        manifest = json.loads(_content(tar, f"blobs/{digest.replace(':', '/')}"))
        config = json.loads(_content(tar, f"blobs/{manifest['config']['digest'].replace(':', '/')}"))
    assert config["rootfs"]["diff_ids"] == [layer.digest] == [entry["digest"] for entry in manifest["layers"]]
    assert config["config"]["Cmd"] == ["run"]
    assert config["config"]["Volumes"] == {"/data": {}}


def test_images_that_share_a_layer_store_it_once(tree: Path, tmp_path: Path) -> None:
    layer = oci.layer_from_directory(tree, tmp_path / "layer.tar")
    other = ImageConfig(env={}, command=("other",), labels={})
    target = tmp_path / "archive.tar"
    oci.write_archive(
        [Image(refs=["a:1"], layer=layer, config=CONFIG), Image(refs=["b:1"], layer=layer, config=other)], target
    )
    with tarfile.open(target) as tar:
        assert tar.getnames().count(f"blobs/{layer.digest.replace(':', '/')}") == 1
    found = oci.digests(target)
    assert found["a:1"] != found["b:1"]


def test_every_application_of_the_platform_has_a_stand_in_image() -> None:
    assert len(definitions.APPLICATIONS) == 12
    assert definitions.application("api-gateway") == "ghcr.io/gx-protocol/api-gateway:sandbox"
    assert definitions.STANDIN_CONFIG.user == "1000:1000"


def test_the_finishing_script_refuses_a_directory_that_is_no_root_file_system(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    script = Path(definitions.__file__).parent / "finish-rootfs.sh"
    done = subprocess.run(["sh", str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not a root file system with BusyBox" in done.stderr
    assert (tmp_path / "etc").is_dir()


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    assert stream is not None
    return stream.read()


def test_images_are_linked_where_the_kernel_allows_it_and_copied_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, root = tmp_path / "store", tmp_path / "root"
    store.mkdir()
    root.mkdir()
    (store / "layer").write_text("x")
    assert can_link(store, root)
    assert list(root.iterdir()) == []

    def refused(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, f"{target} is on another mount than {path}")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    assert not can_link(store, root)
