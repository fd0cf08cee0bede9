"""Print every setting of a training run with its default, its limits and its meaning, as a TOML file."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec

from trimf_train.config import Config
from trimf_train.config_checks import describe_type, is_table

#: Width of the comments, in characters.
_WIDTH = 100

#: A field of a table, and one line of the comment above it that says what the setting means.
_FIELD, _COMMENT = re.compile(r"    (?P<name>\w+): "), re.compile(r"    #: ?(?P<text>.*)")


def render_defaults() -> str:
    """Return all settings with their defaults as TOML, each under a comment with its meaning and limits.

    The meanings are the comments above the fields in ``trimf_train/config.py``. Settings without a default are
    commented out.
    """
    head = "Every setting of `trimf train CONFIG` with its default. A configuration needs only what differs from it."
    return "\n\n".join([_format_comment(head), *_render_table(Config, "")]) + "\n"


def render_config(config: Config) -> str:
    """Return a configuration as TOML, without the settings that have their default.

    Args:
        config: The configuration.

    Returns:
        Text that ``load_config`` reads as an equal configuration.
    """
    return "\n".join(_render_changes(config, "")) + "\n"


def _render_changes(table: msgspec.Struct, name: str) -> Iterator[str]:
    """Yield the lines of a table's settings that differ from their defaults, and those of the tables in it."""
    lines, tables = [], []
    for field in msgspec.structs.fields(type(table)):
        value = getattr(table, field.name)
        default = (
            field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        )
        if isinstance(value, msgspec.Struct):
            tables.append((f"{name}.{field.name}".lstrip("."), value))
        elif value != default:
            lines.append(f"{field.name} = {msgspec.json.encode(value).decode()}")
    if lines and name:
        yield f"\n[{name}]"
    yield from lines
    for inner, value in tables:
        yield from _render_changes(value, inner)


def read_meanings(table: type[msgspec.Struct]) -> dict[str, str]:
    """Return what each setting of a table means, from the comments of its class and of its base classes.

    Args:
        table: The type of the table.
    """
    meanings: dict[str, str] = {}
    for base in reversed([one for one in table.__mro__ if one.__module__ == table.__module__]):
        comment: list[str] = []
        for line in inspect.getsource(base).splitlines():
            if found := _COMMENT.match(line):
                comment.append(found["text"])
            elif found := _FIELD.match(line):
                meanings[found["name"]] = " ".join(comment)
                comment = []
    return meanings


def _render_table(table: type[msgspec.Struct], name: str) -> Iterator[str]:
    """Yield the parts of a table: its heading, its settings, and the tables in it."""
    hints, meanings = get_type_hints(table, include_extras=True), read_meanings(table)
    if name:
        yield f"{_format_comment(inspect.cleandoc(table.__doc__ or '').partition('. ')[0])}\n[{name}]"
    tables = {}
    for field in msgspec.structs.fields(table):
        if is_table(hints[field.name]):
            tables[f"{name}.{field.name}".lstrip(".")] = hints[field.name]
        else:
            yield _render_setting(field, hints[field.name], meanings[field.name])
    for inner, hint in tables.items():
        yield from _render_table(hint, inner)


def _render_setting(field: Any, hint: object, meaning: str) -> str:
    """Return one setting with its comment."""
    comment = _format_comment(f"{meaning} Value: {describe_type(hint)}{', required' * field.required}.")
    default = field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
    if field.required or default is None:
        return f"{comment}\n# {field.name} = …"
    return f"{comment}\n{field.name} = {msgspec.json.encode(default).decode()}"


def _format_comment(text: str) -> str:
    return textwrap.fill(text.replace("``", "`"), _WIDTH, initial_indent="# ", subsequent_indent="# ")
