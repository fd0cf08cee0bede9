"""A bundle with an engine."""

from pathlib import Path

import pytest

from .damage import ENGINE, Edit, replace


@pytest.fixture
def engine_bundle(own_bundle: Path, edit_manifest: Edit) -> Path:
    """The bundle with one engine, which is stale."""
    (own_bundle / "engines").mkdir()
    replace(own_bundle, edit_manifest, ENGINE, b"engine")
    engine = {
        "file": ENGINE,
        "subgraph": "encoder",
        "precision": "fp16",
        "builder": "tensorrt",
        "version": "10.9.0",
        "target": "sm_89",
        "profiles": [{"name": "latency", "axes": {"batch": [1, 1, 1], "subwords": [3, 32, 512]}}],
        "onnx_sha256": "0" * 64,
        "products": {"half": 3},
    }
    edit_manifest(lambda content: content["engines"].append(engine))
    return own_bundle
