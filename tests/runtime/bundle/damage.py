"""Ways to damage a bundle, and the one line that must refuse it."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.backend_selection import open_backend
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.errors import BundleError
from trimf.runtime.pipeline_loading import open_pipeline

Edit = Callable[[Callable[[Any], object]], None]
FILES = ("tokenizer.json", *(f"{name}.onnx" for name in SUBGRAPHS))
ENGINE = "engines/encoder.tensorrt.sm_89.engine"


def refused(path: Path, *parts: str) -> str:
    """The one line that refuses to open a bundle, which holds ``parts``."""
    with pytest.raises(BundleError) as caught:
        open_pipeline(Bundle(path), open_backend("cpu", 1, Bundle(path)))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in (str(path), *parts):
        assert part in message
    return message


def nested(depth: int) -> dict[str, Any]:
    """Objects and lists in turn, twice ``depth`` deep."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": [1, value]}
    return value


def put(*keys: str, value: Any) -> Callable[[Any], object]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def replace(own_bundle: Path, edit_manifest: Edit, name: str, content: bytes) -> None:
    """Put a file into the bundle that the manifest vouches for."""
    (own_bundle / name).write_bytes(content)
    edit_manifest(put("files", name, value={"size": len(content), "sha256": sha256(content).hexdigest()}))
