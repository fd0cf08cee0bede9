"""Draw which room of TriMF imports which, from the code.

Run ``python docs/tools/draw_rooms.py``; it writes ``docs/images/rooms.svg``. An arrow that others imply is left out.
"""

from __future__ import annotations

import sys
from html import escape

from import_graph import GRAPH, ROOT, room_of

OUTPUT = ROOT / "docs" / "images" / "rooms.svg"
TITLES = {
    "top": "cli",
    "road": "runtime",
    "settings": "trimf_train.config",
    "recipes": "trimf_train.configs",
    "contract": "runtime.engine.contract",
    "errors": "runtime.errors",
    **{room: f"runtime.{room}" for room in ("output", "decoding", "text", "engine", "bundle")},
    **{room: f"trimf_train.{room}" for room in ("data", "model", "evaluation", "training", "experiments")},
}
COLOURS = {"runtime": "#5c6bc0", "trimf_train": "#00897b"}
WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 34, 24, 46


def room_graph() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    rooms: dict[str, set[str]] = {room_of(module): set() for module in GRAPH}
    for module, targets in GRAPH.items():
        rooms[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return rooms


def reachable(rooms: dict[str, set[str]], start: str) -> set[str]:
    """Return all rooms that a room imports directly or through others."""
    seen: set[str] = set()
    waiting = list(rooms[start])
    while waiting:
        room = waiting.pop()
        if room not in seen:
            seen.add(room)
            waiting += rooms[room]
    return seen


def direct_arrows(rooms: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the imports between rooms that no chain of other imports implies."""
    return [
        (room, target)
        for room, targets in rooms.items()
        for target in sorted(targets)
        if not any(target in reachable(rooms, other) for other in targets - {target})
    ]


def depths(rooms: dict[str, set[str]]) -> dict[str, int]:
    """Return the longest chain of imports below each room; rooms must not import each other."""
    known: dict[str, int] = {}

    def depth(room: str) -> int:
        if room not in known:
            known[room] = 1 + max((depth(target) for target in rooms[room]), default=-1)
        return known[room]

    for room in rooms:
        depth(room)
    return known


def draw() -> str:
    """Return the drawing as SVG."""
    rooms = room_graph()
    level = depths(rooms)
    top = max(level.values())
    rows = [sorted(room for room in rooms if level[room] == top - row) for row in range(top + 1)]
    width = max(len(row) for row in rows) * (WIDTH + GAP_X) + GAP_X
    height = len(rows) * (HEIGHT + GAP_Y) + GAP_X
    corner: dict[str, tuple[float, float]] = {}
    for index, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        for column, room in enumerate(row):
            corner[room] = (left + column * (WIDTH + GAP_X), GAP_X + index * (HEIGHT + GAP_Y))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="13" '
        'font-family="sans-serif">',
        "<title>Which folder imports which</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8a8f98"/></marker></defs>',
    ]
    for index, (room, target) in enumerate(direct_arrows(rooms)):
        (x1, y1), (x2, y2) = corner[room], corner[target]
        x1, y1, x2 = x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2
        bend = (y2 - y1) / 2
        # An arrow past other rows goes round their boxes.
        aside = (WIDTH * 0.9 if index % 2 else -WIDTH * 0.9) if level[room] - level[target] > 1 and x1 == x2 else 0
        curve = f"M{x1} {y1}C{x1 + aside} {y1 + bend} {x2 + aside} {y2 - bend} {x2} {y2 - 2}"
        parts.append(f'<path d="{curve}" fill="none" stroke="#8a8f98" stroke-width="1.3" marker-end="url(#head)"/>')
    for room, (x, y) in corner.items():
        name = TITLES.get(room, room)
        fill = COLOURS.get(name.partition(".")[0], "#6d4c41")
        parts.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}"/>')
        title = escape(name)
        parts.append(
            f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2 + 4.5}" text-anchor="middle" fill="#fff">{title}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    OUTPUT.write_text(draw(), encoding="utf-8")
    sys.stdout.write(f"{OUTPUT}\n")
