"""A bundle opens whole or is refused in one line that says what is wrong with which file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, MAX_MANIFEST_BYTES, Bundle
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.errors import BundleError
from trimf.runtime.pipeline_loading import open_pipeline, read_settings

from .damage import ENGINE, FILES, Edit, put, refused


def test_a_whole_bundle_opens(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    assert bundle.path == tiny_bundle
    assert bundle.manifest.labels.entity_types == ("Person", "Place", "Address")
    for name in FILES:
        assert bundle.read(name) == (tiny_bundle / name).read_bytes()
    assert read_settings(bundle.manifest)[:8] == ({"chain": 1}, frozenset({1}), 0.5, False, 80, 24, 2, None)
    pipeline = open_pipeline(Bundle(str(tiny_bundle)), open_backend("auto", None, Bundle(tiny_bundle)))
    assert list(pipeline.graphs) == list(SUBGRAPHS)


def test_default_is_the_one_in_the_package() -> None:
    assert DEFAULT_BUNDLE.parts[-2:] == ("models", "default")
    assert (DEFAULT_BUNDLE.parent.parent / "runtime" / "bundle" / "reader.py").is_file()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x")])
def test_no_folder(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "model")
    refused(tmp_path / "model", "bundle not found", "trimf export")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800"])
def test_a_folder_name_that_cannot_be(name: str) -> None:
    with pytest.raises(BundleError, match="bundle not found"):
        Bundle(name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(own_bundle: Path, name: str) -> None:
    (own_bundle / name).unlink()
    refused(own_bundle, f"/{name}: cannot be read: No such file")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file(own_bundle: Path, name: str) -> None:
    size = (own_bundle / name).stat().st_size
    os.truncate(own_bundle / name, size - 1)
    refused(own_bundle, f"/{name}: {size - 1} bytes, but the manifest says {size}")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_flipped_bit(own_bundle: Path, name: str, place: float) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (own_bundle / name).write_bytes(content)
    refused(own_bundle, f"/{name}: SHA-256 ", "but the manifest says")


def test_a_folder_in_place_of_a_file(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").unlink()
    (own_bundle / "encoder.onnx").mkdir()
    refused(own_bundle, "/encoder.onnx: ")


def test_every_file_of_the_manifest_must_be_there(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(put("files", "NOTICE", value={"size": 3, "sha256": "0" * 64}))
    refused(own_bundle, "/NOTICE: cannot be read: No such file")
    (own_bundle / "NOTICE").write_text("abcd")
    refused(own_bundle, "/NOTICE: 4 bytes, but the manifest says 3")
    (own_bundle / "NOTICE").write_text("abc")
    with pytest.raises(BundleError, match=r"NOTICE: SHA-256 ba7816bf8f01…, but the manifest says 0000"):
        Bundle(own_bundle).read("NOTICE")


def test_only_listed_files_are_read(own_bundle: Path) -> None:
    (own_bundle / "README.md").write_text("hello")
    (own_bundle / "engines").mkdir()
    (own_bundle / "engines" / "old.engine").write_text("x")
    bundle = Bundle(own_bundle)
    assert bundle.find_unlisted() == ["README.md", "engines", "engines/old.engine"]
    for name in ("README.md", "engines/old.engine", "../x", "manifest.json"):
        with pytest.raises(BundleError, match=r"manifest\.json: does not list "):
            bundle.read(name)


def test_a_bundle_with_an_engine_opens_though_it_is_stale(engine_bundle: Path) -> None:
    bundle = Bundle(engine_bundle)
    assert bundle.read(ENGINE) == b"engine"
    assert bundle.manifest.engines[0].profiles[0].axes["subwords"] == (3, 32, 512)
    assert bundle.find_unlisted() == []


def test_a_damaged_file_is_found_when_it_is_read(own_bundle: Path) -> None:
    bundle = Bundle(own_bundle)
    (own_bundle / "fusion.onnx").unlink()
    with pytest.raises(BundleError, match=r"fusion\.onnx: cannot be read"):
        bundle.read("fusion.onnx")


def test_no_manifest(own_bundle: Path) -> None:
    (own_bundle / "manifest.json").unlink()
    refused(own_bundle, "/manifest.json: cannot be read: No such file", "the bundle is incomplete")


def test_an_oversize_manifest_is_not_read(own_bundle: Path) -> None:
    size = MAX_MANIFEST_BYTES + 1
    with (own_bundle / "manifest.json").open("r+b") as file:
        file.truncate(size)
    refused(own_bundle, f"/manifest.json: a manifest must have <= {MAX_MANIFEST_BYTES} bytes, got {size}")


def test_a_declared_size_that_is_not_the_files(own_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(put("files", "encoder.onnx", "size", value=2 << 30))
    refused(own_bundle, "/encoder.onnx: ", "bytes, but the manifest says 2147483648")


def link_to_store(path: Path, store: Path) -> None:
    """Replace a file or folder by a relative link into a store, as the caches of hubs and build systems do."""
    store.mkdir(exist_ok=True)
    path.rename(store / path.name)
    path.symlink_to(os.path.relpath(store / path.name, path.parent))


def test_a_bundle_of_links_is_read(own_bundle: Path) -> None:
    content = (own_bundle / "encoder.onnx").read_bytes()
    for path in list(own_bundle.iterdir()):
        link_to_store(path, own_bundle.parent / "blobs")
    bundle = Bundle(own_bundle)
    assert bundle.read("encoder.onnx") == content
    open_pipeline(bundle, open_backend("cpu", 1, bundle))


def test_a_linked_folder_of_engines_is_read(engine_bundle: Path) -> None:
    content = (engine_bundle / ENGINE).read_bytes()
    link_to_store(engine_bundle / "engines", engine_bundle.parent / "elsewhere")
    assert Bundle(engine_bundle).read(ENGINE) == content


def test_a_link_to_anything_else_is_refused_by_its_hash(own_bundle: Path) -> None:
    size = (own_bundle / "tokenizer.json").stat().st_size
    (own_bundle / "tokenizer.json").unlink()
    secret = own_bundle.parent / "secret"
    secret.write_bytes(b"?" * size)
    (own_bundle / "tokenizer.json").symlink_to(secret)
    assert "????" not in refused(own_bundle, "/tokenizer.json: SHA-256")


def test_a_link_to_a_device_is_refused(own_bundle: Path) -> None:
    (own_bundle / "tokenizer.json").unlink()
    (own_bundle / "tokenizer.json").symlink_to("/dev/zero")
    refused(own_bundle, "/tokenizer.json: not a regular file")


def test_a_broken_link_is_refused(own_bundle: Path) -> None:
    (own_bundle / "tokenizer.json").unlink()
    (own_bundle / "tokenizer.json").symlink_to("gone")
    refused(own_bundle, "/tokenizer.json: cannot be read: No such file")


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "fusion.onnx"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    if name != "manifest.json":
        edit_manifest(put("files", name, "size", value=0))
    (own_bundle / name).unlink()
    os.mkfifo(own_bundle / name)
    refused(own_bundle, f"/{name}: not a regular file")


def test_a_link_to_itself(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").unlink()
    (own_bundle / "encoder.onnx").symlink_to("encoder.onnx")
    refused(own_bundle, "/encoder.onnx: ")


def test_a_link_within_the_bundle_and_to_the_bundle(own_bundle: Path) -> None:
    (own_bundle / "encoder.onnx").rename(own_bundle / "weights")
    (own_bundle / "encoder.onnx").symlink_to("weights")
    link = own_bundle.parent / "link"
    link.symlink_to(own_bundle)
    assert Bundle(link).read("encoder.onnx") == (own_bundle / "weights").read_bytes()
