"""Draw the way of a sentence through the runtime, with the type that each function returns, from the code.

Run ``python docs/tools/draw_sentence.py``; it writes ``docs/images/sentence.svg``. A function that was renamed is an
error.
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "docs" / "images" / "sentence.svg"

#: File and function of each step, in the order in which they see a sentence.
STEPS = (
    ("runtime/document_reader.py", "Document.from_text"),
    ("runtime/document_reader.py", "DocumentReader.read_next"),
    ("runtime/streaming/ordered_batches.py", "batch_by_length"),
    ("runtime/text/subwords.py", "SubwordTokenizer.encode"),
    ("runtime/window_batching.py", "cut_windows"),
    ("runtime/text/batch_arrays.py", "pad_batch"),
    ("runtime/engine/contract.py", "Subgraph.run"),
    ("runtime/decoding/span_decoding.py", "decode_entities"),
    ("runtime/decoding/pair_blocks.py", "iterate_pair_blocks"),
    ("runtime/window_batching.py", "join_window_results"),
    ("runtime/assembly.py", "assemble_sentence"),
    ("runtime/assembly.py", "join_sentences"),
)
WIDTH, HEIGHT, GAP, LEFT = 560, 36, 34, 20


def returned_type(path: str, name: str) -> str:
    """Return the annotation of what a function returns.

    Args:
        path: file below the repository root.
        name: function, or class and method with a dot between them.

    Raises:
        ValueError: the file has no such function.
    """
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in name.split("."):
        node = next((node for node in body if getattr(node, "name", None) == part), None)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            raise ValueError(f"{path} has no {name}; update STEPS")
        body = node.body
    if not isinstance(node, ast.FunctionDef) or node.returns is None:
        raise ValueError(f"{path}: {name} has no return annotation")
    return ast.unparse(node.returns).replace("Self", name.partition(".")[0])


def draw() -> str:
    """Return the drawing as SVG."""
    height = len(STEPS) * (HEIGHT + GAP) + 2 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * LEFT} {height}" font-size="13" '
        'font-family="sans-serif">',
        "<title>The way of a sentence</title>",
    ]
    middle = LEFT + WIDTH / 2
    parts.append(
        f'<text x="{middle + 12}" y="{GAP - 8}" fill="#8a8f98" font-family="monospace" font-size="12">str</text>'
    )
    parts.append(f'<path d="M{middle - 4} {GAP - 10}h8l-4 7z" fill="#8a8f98"/>')
    for index, (path, name) in enumerate(STEPS):
        top = GAP + index * (HEIGHT + GAP)
        parts += [
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#5c6bc0"/>',
            f'<text x="{LEFT + 12}" y="{top + 23}" fill="#fff">{escape(name)}</text>',
            f'<text x="{LEFT + WIDTH - 12}" y="{top + 23}" fill="#e8eaf6" text-anchor="end" font-size="11">'
            f"{escape(path)}</text>",
            f'<path d="M{middle} {top + HEIGHT}v{GAP - 6}" stroke="#8a8f98" stroke-width="1.3"/>',
            f'<path d="M{middle - 4} {top + HEIGHT + GAP - 8}h8l-4 7z" fill="#8a8f98"/>',
            f'<text x="{middle + 12}" y="{top + HEIGHT + 20}" fill="#8a8f98" font-family="monospace" font-size="12">'
            f"{escape(returned_type(path, name))}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    OUTPUT.write_text(draw(), encoding="utf-8")
    sys.stdout.write(f"{OUTPUT}\n")
