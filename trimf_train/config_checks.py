"""Check the values of a configuration against its tables, with errors that say what to change and where it is.

An error names where the value comes from (a file, or ``--set KEY=VALUE``), the setting, the limit or the choices, and
the value; for an unknown name it suggests the nearest known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from trimf.runtime.errors import ConfigError, suggest_name

T = TypeVar("T", bound=msgspec.Struct)

#: The value that a msgspec error is about, as in "Expected `float`, got `str` - at `$.train.lr`".
_PATH = re.compile(r" - at `\$\.?(?P<key>[^`\[]*)[^`]*`$")

_LIMITS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


class Origins:
    """Where the values of a configuration come from, for the start of an error message.

    Args:
        default: Where the values come from that were not overridden.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._overrides: dict[str, str] = {}

    def add_override(self, key: str, override: str) -> None:
        """Note that a setting, or a whole table, comes from an override; the last one for a key counts."""
        self._overrides.pop(key, None)
        self._overrides[key] = f"--set {override}"

    def find(self, key: str) -> str:
        """Return where a setting comes from: the last override of the setting, of its table or of a part of it."""
        for other, origin in reversed(self._overrides.items()):
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                return origin
        return self._default


def convert_settings(values: Mapping[str, Any], table: type[T], origins: Origins) -> T:
    """Convert the values of a configuration to its tables.

    Args:
        values: The values, in nested tables.
        table: The type of the top level.
        origins: Where the values come from.

    Returns:
        The configuration, with defaults for the settings that ``values`` does not have.

    Raises:
        ConfigError: A setting is unknown or missing, or its value has the wrong type or is outside its limits.
    """
    settings = list_settings(table)
    _check_names(values, table, settings, origins)
    for key in _find_missing(values, table):
        raise ConfigError(
            f"{origins.find(key)}: missing required setting {key}; set it in the file or by --set {key}=VALUE"
        )
    try:
        return msgspec.convert(values, table, strict=True)
    except msgspec.ValidationError as error:
        key = found["key"] if (found := _PATH.search(str(error))) else ""
        raise ConfigError(
            f"{origins.find(key)}: {_describe_value(key, settings[key], _find_value(values, key))}"
        ) from error


def list_settings(table: type[msgspec.Struct], prefix: str = "") -> dict[str, Any]:
    """Return the type hint of each setting by its full name, such as ``train.lr``; tables are among them.

    Args:
        table: The type of a table.
        prefix: The full name of the table, with a period at its end; empty for the top level.
    """
    settings: dict[str, Any] = {}
    for name, hint in get_type_hints(table, include_extras=True).items():
        settings[f"{prefix}{name}"] = hint
        if is_table(hint):
            settings |= list_settings(hint, f"{prefix}{name}.")
    return settings


def is_table(hint: object) -> bool:
    """Return True if a type hint is that of a table."""
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def describe_type(hint: Any) -> str:
    """Describe the values that a setting accepts, such as "a number > 0 and <= 1".

    Args:
        hint: The type hint of the setting.
    """
    hint, limits = _split_hint(hint)
    if is_table(hint):
        return "a table of settings"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is list:
        return f'a list of {"one or more " * bool(limits)}texts, such as ["a", "b"]'
    kind = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}[hint]
    return " ".join([kind, " and ".join(limits)]).strip()


def _split_hint(hint: Any) -> tuple[Any, list[str]]:
    """Return a type without None and without its limits, and the limits in words."""
    limits: list[str] = []
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Annotated:
        hint, meta = get_args(hint)
        limits = [
            f"{sign} {_format_number(limit)}" for name, sign in _LIMITS if (limit := getattr(meta, name)) is not None
        ]
        if meta.min_length is not None:
            limits.append("that is not empty")
    return hint, limits


def _format_number(value: float) -> str:
    return f"{value:.10g}"


def _check_names(
    values: Mapping[str, Any], table: type[msgspec.Struct], settings: Mapping[str, Any], origins: Origins
) -> None:
    """Raise a ConfigError for the first name that is no setting."""
    for key in _walk(values):
        parent, _, name = key.rpartition(".")
        if key in settings or (parent and not is_table(settings[parent])):  # the conversion reports what is no table
            continue
        names = [other.rpartition(".")[2] for other in settings if other.rpartition(".")[0] == parent]
        elsewhere = [other for other in settings if other.rpartition(".")[2] == name]
        if near := suggest_name(name, names):
            hint = f"did you mean {f'{parent}.{near}'.lstrip('.')}?"
        elif elsewhere:
            hint = f"did you mean {' or '.join(elsewhere)}?"
        else:
            hint = f"choose from {', '.join(names)}"
        raise ConfigError(f"{origins.find(key)}: unknown setting {key}; {hint}")


def _walk(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the full name of each value, tables before what is in them."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _walk(value, f"{prefix}{name}.")


def _find_missing(values: Mapping[str, Any], table: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Yield the full names of required settings that have no value."""
    hints = get_type_hints(table, include_extras=True)
    for field in msgspec.structs.fields(table):
        hint, value = hints[field.name], values.get(field.name, {} if is_table(hints[field.name]) else None)
        if is_table(hint) and isinstance(value, dict) and (field.required or field.name in values):
            yield from _find_missing(value, hint, f"{prefix}{field.name}.")
        elif field.required and field.name not in values and not is_table(hint):
            yield f"{prefix}{field.name}"


def _find_value(values: Mapping[str, Any], key: str) -> Any:
    """Return the value with a full name."""
    value: Any = values
    for name in key.split("."):
        value = value[name]
    return value


def _describe_value(key: str, hint: Any, value: object) -> str:
    """Describe a value that its setting does not accept."""
    kind, _ = _split_hint(hint)
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    text = text if len(text) <= 80 else f"{text[:79]}…"
    if get_origin(kind) is Literal:
        near = suggest_name(str(value), get_args(kind))
        hint = f"; did you mean {near}?" if near else ""
        return f"unknown {key} {text}; choose from {', '.join(get_args(kind))}{hint}"
    given = f"{text} (str)" if isinstance(value, str) else text
    example = f", such as {key}.{next(iter(get_type_hints(kind)))}" if is_table(kind) else ""
    return f"{key} must be {describe_type(hint)}{example}, got {given}"
