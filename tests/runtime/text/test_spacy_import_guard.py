"""spaCy without torch, where the default parser is the first to import it."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="there is no torch to hide")

LOAD = "from trimf.runtime.text.parser import load_parser, BackendError\n"
LOAD += "from trimf.runtime.text.spacy_import_guard import thinc_imported_without_torch\n"


def fresh(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_torch_is_hidden_and_can_be_imported_later() -> None:
    code = (
        "import sys\nfinders = list(sys.meta_path)\n"
        "from trimf.runtime.text.spacy_import_guard import hide_torch_from_spacy, thinc_imported_without_torch\n"
        "with hide_torch_from_spacy():\n    import spacy\n"
        "print('torch' in sys.modules, thinc_imported_without_torch(), sys.meta_path == finders)\n"
        "import torch, thinc.compat\nprint(torch.ones(2).sum().item(), thinc.compat.has_torch)"
    )
    assert fresh(code) == ["False True True", "2.0 False"]


@pytest.mark.slow
def test_torch_that_is_there_already_stays() -> None:
    code = (
        "import torch\n"
        "from trimf.runtime.text.spacy_import_guard import hide_torch_from_spacy, thinc_imported_without_torch\n"
        "with hide_torch_from_spacy():\n    import thinc.compat\n"
        "print(thinc.compat.has_torch, thinc_imported_without_torch())"
    )
    assert fresh(code) == ["True False"]


@pytest.mark.slow
def test_others_find_torch_meanwhile() -> None:
    code = (
        "from threading import Thread\nfrom trimf.runtime.text.spacy_import_guard import hide_torch_from_spacy\n"
        "def work():\n    import torch\n    print(torch.ones(2).sum().item())\n"
        "with hide_torch_from_spacy():\n    thread = Thread(target=work)\n    thread.start()\n    thread.join()"
    )
    assert fresh(code) == ["2.0"]


@pytest.mark.slow
def test_another_pipeline_gets_torch(tmp_path: object) -> None:
    code = LOAD + (
        f"from pathlib import Path\nPath({str(tmp_path)!r}, 'meta.json').write_text('')\n"
        f"try: load_parser({str(tmp_path)!r})\nexcept BackendError as error: print('hides' in str(error))\n"
        "import thinc.compat\nprint(thinc.compat.has_torch)"
    )
    assert fresh(code) == ["False", "True"]


@pytest.mark.slow
def test_a_pipeline_that_comes_too_late_says_so(tmp_path: object) -> None:
    code = LOAD + (
        "from trimf.runtime.text.spacy_import_guard import hide_torch_from_spacy\n"
        "with hide_torch_from_spacy():\n    import spacy\n"
        f"from pathlib import Path\nPath({str(tmp_path)!r}, 'meta.json').write_text('')\n"
        f"try: load_parser({str(tmp_path)!r})\nexcept BackendError as error: print(error)"
    )
    (message,) = fresh(code)
    assert "if the pipeline needs torch, import torch before TriMF loads en_core_web_sm" in message


GUARDED = (
    "import sys\nfrom trimf.runtime.text.spacy_import_guard import leave_out_spacy_commands\n"
    "finders = list(sys.meta_path)\n"
    "with leave_out_spacy_commands():\n    import spacy\n"
)


@pytest.mark.slow
def test_commands_of_spacy_are_loaded_when_used() -> None:
    code = GUARDED + (
        "print(sys.meta_path == finders, 'weasel' in sys.modules, 'spacy.cli.info' in sys.modules)\n"
        "print(callable(spacy.cli.download), 'weasel' in sys.modules, spacy.cli is sys.modules['spacy.cli'])\n"
        "print('spacy_version' in spacy.info(silent=True), spacy.blank('en')('a b')[1], hasattr(spacy, 'client'))"
    )
    assert fresh(code) == ["True False False", "True True True", "True b False"]


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["from spacy.cli import info", "from spacy.cli.info import info"])
def test_commands_of_spacy_can_be_imported(statement: str) -> None:
    code = GUARDED + f"{statement}\nprint(info.__module__, spacy.cli.app is not None)"
    assert fresh(code) == ["spacy.cli.info True"]


@pytest.mark.slow
def test_spacy_that_is_there_already_stays_as_it_is() -> None:
    code = "import spacy\ncommands = spacy.cli\n" + GUARDED + "print(spacy.cli is commands is sys.modules['spacy.cli'])"
    assert fresh(code) == ["True"]


@pytest.mark.slow
def test_loading_imports_no_command_of_spacy() -> None:
    code = (
        "import sys, trimf\nwith trimf.load() as extract:\n    print(len(extract('Ann met Bob.').sentences))\n"
        "print(bool({'weasel', 'httpx', 'requests'} & set(sys.modules)))"
    )
    assert fresh(code) == ["1", "False"]
