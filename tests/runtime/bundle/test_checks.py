"""A manifest that breaks a rule is refused in one line that says which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.bundle.manifest import SCHEMA_VERSION
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle

from .damage import ENGINE, FILES, Edit, nested, put, refused


def engine(*keys: Any, value: Any) -> Callable[[Any], object]:
    return lambda content: put(*keys, value=value)(content["engines"][0])


def axes(**sizes: list[int]) -> Callable[[Any], object]:
    return engine("profiles", value=[{"name": "a", "axes": sizes}])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda content: content["files"].pop(ENGINE), f"engines: '{ENGINE}' is not listed in files below engines/"),
        (engine("file", value="encoder.onnx"), "engines: 'encoder.onnx' is not listed in files below engines/"),
        (engine("file", value="../x"), "engines: '../x' is not listed in files below engines/"),
        (lambda content: content["engines"].clear(), f"{ENGINE} has no entry in engines"),
        (lambda content: content["engines"].append(content["engines"][0]), f"engines lists {ENGINE} more than once"),
        (engine("subgraph", value="decoder"), "unknown subgraph 'decoder'; choose from encoder, fusion"),
        (
            engine("subgraph", value="joined"),
            "the graph 'joined' of encoder, fusion, entities needs an in-model parser, but the parser is chain",
        ),
        (engine("builder", value="cuda"), "Invalid enum value 'cuda'"),
        (engine("target", value="gpu"), "matching regex"),
        (engine("onnx_sha256", value=""), "matching regex"),
        (engine("profiles", value=[]), "length >= 1"),
        (engine("products", value={"half": -1}), "Expected `int` >= 0"),
        (axes(batch=[2, 1, 4]), "profile 'a': sizes of batch must ascend (min, tuned, max), got 2, 1, 4"),
        (axes(batch=[1, 5, 4]), "profile 'a': sizes of batch must ascend (min, tuned, max), got 1, 5, 4"),
        (axes(batch=[0, 1, 1]), "Expected `int` >= 1"),
        (axes(batch=[1, 1]), "length 3"),
        (axes(depth=[1, 1, 1]), "profile 'a' has the unknown axis 'depth'; choose from batch, pairs"),
        (
            put("files", ENGINE, "size", value=(8 << 30) + 1),
            f"{ENGINE}: size must be <= 8589934592 bytes, got 8589934593",
        ),
    ],
)
def test_an_engine_out_of_place(
    engine_bundle: Path, edit_manifest: Edit, change: Callable[[Any], object], part: str
) -> None:
    edit_manifest(change)
    refused(engine_bundle, "/manifest.json: ", part)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"pickle", "invalid character"),
        (b"\xff\xfe{\0}\0", "not a bundle manifest"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "missing required field `schema_version`"),
        (b'{"schema_version": "1"}', "Expected `int`, got `str`"),
        (b'{"schema_version": 1}', "missing required field"),
        (b'{"schema_version": 0}', "schema_version 0 is not supported; this TriMF reads 1"),
        (b'{"schema_version": %d, "new": 1}' % (SCHEMA_VERSION + 1), "is not supported; this TriMF reads 1 to"),
        (
            b'{"schema_version": %s}' % (b"9" * 4000),
            "schema_version over 2**64 is not supported; this TriMF reads 1 to",
        ),
        (b'{"schema_version": %s}' % (b"9" * 5000), "not a bundle manifest"),
        (b'{"schema_version": 1e999}', "not a bundle manifest"),
        (b'{"schema_version": 1, "provenance": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "not a bundle manifest"),
        (b"[" * 1_000_000, "not a bundle manifest"),
        (b'{"schema_version": "\xed\xa0\x80"}', "not a bundle manifest"),
        (b'\xef\xbb\xbf{"schema_version": 1}', "not a bundle manifest"),
        (b'{"schema_version": 1, "\\u001b[2J\\n": NaN}', "not a bundle manifest"),
    ],
)
def test_what_is_no_manifest(own_bundle: Path, content: bytes, part: str) -> None:
    (own_bundle / "manifest.json").write_bytes(content)
    refused(own_bundle, "/manifest.json: ", part)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (put("colour", value=1), "unknown field `colour`"),
        (put("sizes", "depth", value=1), "unknown field `depth`"),
        (put("labels", "colours", value=[]), "unknown field `colours`"),
        (put("files", "encoder.onnx", "mode", value=1), "unknown field `mode`"),
        (put("strange\nname", value=1), "unknown field `strange name`"),
        (put("sizes", "max_span", value=0), "Expected `int` >= 1 - at `$.sizes.max_span`"),
        (put("sizes", "hidden", value=65_537), "sizes.hidden must be <= 65536, got 65537"),
        (put("sizes", "hidden", value=10**4000), "sizes.hidden must be <= 65536, got over 2**64"),
        (put("sizes", "max_span", value=513), "sizes.max_span must be <= 512, got 513"),
        (put("sizes", "max_subwords", value=1 << 20), "sizes.max_subwords must be <= 65536, got 1048576"),
        (put("sizes", "max_words", value=1 << 20), "sizes.max_words must be <= 65536, got 1048576"),
        (
            put("sizes", "max_subwords", value=2),
            "sizes.max_subwords must be > 2, the number of special tokens in tokenizer.json, got 2",
        ),
        (put("sizes", "max_words", value=True), "Expected `int`, got `bool`"),
        (put("files", "encoder.onnx", "size", value=-1), "Expected `int` >= 0"),
        (
            put("files", "encoder.onnx", "size", value=(2 << 30) + 1),
            "encoder.onnx: size must be <= 2147483648 bytes, got 2147483649",
        ),
        (put("files", "encoder.onnx", "size", value=10**30), "size must be <= 2147483648 bytes, got over 2**64"),
        (put("files", "tokenizer.json", "size", value=(64 << 20) + 1), "size must be <= 67108864 bytes, got 67108865"),
        (
            put("files", "MODEL_CARD.md", value={"size": 1 << 40, "sha256": "0" * 64}),
            "size must be <= 67108864 bytes, got 1099511627776",
        ),
        (put("files", "encoder.onnx", "sha256", value="0" * 63), "matching regex"),
        (put("files", "encoder.onnx", "sha256", value="G" * 64), "matching regex"),
        (put("decoding", "relation_threshold", value=0), "$.decoding.relation_threshold"),
        (put("decoding", "relation_threshold", value=1), "$.decoding.relation_threshold"),
        (put("precision", value="int4"), "Invalid enum value 'int4'"),
        (put("labels", "symmetric", value=["hates"]), "labels.symmetric lists 'hates', which is not a relation type"),
        (put("labels", "relations", value=[]), "labels.symmetric lists 'knows'"),
        (
            put("labels", "signatures", value=[["Person", "knows", "Ghost"]]),
            "labels.signatures[0] contains 'Ghost', which is not an entity type",
        ),
        (
            put("labels", "signatures", value=[["Person", "loves", "Person"]]),
            "labels.signatures[0] contains 'loves', which is not a relation type",
        ),
        (put("labels", "entities", value=["A", "B", "A"]), "labels.entities lists 'A' more than once"),
        (
            put("labels", "entities", value=list(map(str, range(10_001)))),
            "labels.entities must have <= 10000 names, got 10001",
        ),
        (
            put("products", value={"decoder": {"half": 1}}),
            "products: unknown subgraph 'decoder'; choose from encoder, fusion",
        ),
        (put("x" * 5000, value=1), "unknown field `xxx"),
        (put("strange\x1b[2Jname", value=1), "unknown field `strange [2Jname`"),
        (put("parity", value=nested(33)), "nested more than 64 levels deep"),
        (put("provenance", value={"deep": nested(200)}), "nested more than 64 levels deep"),
    ],
)
def test_a_value_out_of_place(
    own_bundle: Path, edit_manifest: Edit, change: Callable[[Any], object], part: str
) -> None:
    edit_manifest(change)
    refused(own_bundle, "/manifest.json: ", part)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b'"opset":18', b'"opset":18,"opset":17', "'opset'"),
        (b'"hidden":4', b'"hidden":4,"hidden":4', "'hidden'"),
        (b'"provenance":{}', b'"provenance":{"a":[{"\\u00e9":1,"b":2,"\xc3\xa9":1}]}', "'\\xe9'"),
    ],
)
def test_a_key_that_stands_twice(own_bundle: Path, old: bytes, new: bytes, key: str) -> None:
    path = own_bundle / "manifest.json"
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    refused(own_bundle, "/manifest.json: ", f"duplicate key {key} in an object")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000])
def test_a_number_that_is_none(own_bundle: Path, number: bytes) -> None:
    path = own_bundle / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"provenance":{}', b'"provenance":{"x":%s}' % number))
    refused(own_bundle, "/manifest.json: not a bundle manifest: ")


def test_a_manifest_of_schema_1_opens(own_bundle: Path, edit_manifest: Edit) -> None:
    def change(content: dict[str, Any]) -> None:
        content["schema_version"] = 1
        for name in ("products", "quantization", "engines"):
            del content[name]

    edit_manifest(change)
    assert Bundle(own_bundle).manifest.engines == []
    assert Bundle(DEFAULT_BUNDLE).manifest.schema_version <= SCHEMA_VERSION


@pytest.mark.parametrize("name", FILES)
def test_a_file_the_manifest_forgot(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    edit_manifest(lambda content: content["files"].pop(name))
    refused(own_bundle, f"/manifest.json: does not list {name}")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        ".",
        "",
        "/etc/passwd",
        "/",
        "//x",
        "engines/../../x",
        "engines/..",
        "engines/",
        "engines//x",
        "./encoder.onnx",
        "other/x",
        "engines/a/b",
        "..\\x",
        "engines\\x",
        "C:x",
        "C:\\x",
        "a\0b",
        "x/",
        "x" * 10_000 + "/y",
        "x" * 129,
        ".hidden",
        "x\n",
        "x y",
        "\u0435ncoder.onnx",
        "engines\u2215x",
        "CON:",
        "~",
    ],
)
def test_a_name_that_leaves_the_bundle(own_bundle: Path, edit_manifest: Edit, name: str) -> None:
    (own_bundle.parent / "x").write_text("secret")
    edit_manifest(put("files", name, value={"size": 6, "sha256": "0" * 64}))
    refused(own_bundle, "/manifest.json: invalid file name ", "in no folder but engines/")
