"""The folder of the caches."""

import sys
from pathlib import Path

import platformdirs
import pytest

from trimf.runtime.engine.cache import user_cache_folder


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache_folder() == Path("/somewhere/trimf")
    for other in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", other)
        assert user_cache_folder() == Path.home() / ".cache" / "trimf"


def test_a_relative_folder_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As older releases of platformdirs return it."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, **_: Path("relative") / name)
    assert user_cache_folder() == Path.home() / ".cache" / "trimf"
