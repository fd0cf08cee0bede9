"""A command names the extra that it lacks."""

import sys

import pytest

from trimf.runtime.errors import BackendError
from trimf.runtime.extras import require_extra


def test_installed_modules_are_accepted() -> None:
    require_extra("bench", "json", "msgspec")


@pytest.mark.parametrize("purpose", ["this command", "plotting"])
def test_a_missing_module_is_named_with_its_extra(purpose: str) -> None:
    with pytest.raises(BackendError) as error:
        require_extra("bench", "json", "no_such_module_at_all", purpose=purpose)
    assert str(error.value) == (
        f'{purpose} needs no_such_module_at_all, which is not installed; pip install "trimf[bench]"'
    )


def test_a_blocked_module_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match=r'needs torch, .*"trimf\[train\]"'):
        require_extra("train", "torch")


def test_a_module_without_specification_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_up", type(sys)("made_up"))
    require_extra("bench", "made_up")
