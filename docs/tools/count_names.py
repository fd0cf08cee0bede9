"""Count what names and docstrings of a code base look like.

Run ``python docs/tools/count_names.py`` for TriMF, or with the folder of another code base to compare with it. Tests
are left out. Functions without their own name (dunders) do not count.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {"tests", "docs", "build", ".venv", ".import_path", ".git"}
WATCHED = ("one", "place", "found", "given", "chosen", "own", "number")
#: First words of a docstring that is no imperative sentence.
NOT_IMPERATIVE = re.compile(r"(The|A|An|What|Which|Whether|Every|How|When|Where|Who|All|Its|That|\()(\b|$)")


def count(root: Path) -> dict[str, float]:
    """Return the counts of the Python files below a folder.

    Args:
        root: folder of the code base.
    """
    paths = [path for path in sorted(root.rglob("*.py")) if not LEFT_OUT & set(path.relative_to(root).parts)]
    lines, lengths, words, openings, bindings = 0, [], [], 0, Counter[str]()
    documented = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bindings[node.id] += 1
            elif isinstance(node, ast.arg):
                bindings[node.arg] += 1
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
                words.append(len([part for part in node.name.strip("_").split("_") if part]))
                if docstring := ast.get_docstring(node):
                    documented += 1
                    openings += bool(NOT_IMPERATIVE.match(docstring))
    return {
        "files": len(paths),
        "lines": lines,
        "functions": len(lengths),
        "function lines, median": statistics.median(lengths),
        "function lines, p90": statistics.quantiles(lengths, n=10)[-1],
        "function lines, max": max(lengths),
        "words per function name": round(statistics.mean(words), 2),
        "one-word function names, %": round(100 * words.count(1) / len(words), 1),
        "function docstrings that begin with an article or a question word, %": round(100 * openings / documented, 1),
        **{f"bindings of {name!r}": bindings[name] for name in WATCHED},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(count(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT), indent=2) + "\n")
