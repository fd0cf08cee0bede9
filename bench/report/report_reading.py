"""Read reports of ``trimf bench``: a file, the folder of a report, or a folder of many."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...runtime.errors import InputError, one_line
from .schema import SCHEMA_VERSION, Report

#: Name of the file of a report in its folder.
REPORT_NAME = "report.json"


class _SchemaVersion(msgspec.Struct):
    """The part of a report that every schema version has."""

    schema_version: int


def read_report(path: str | Path) -> Report:
    """Read a report.

    Args:
        path: A ``report.json`` written by ``trimf bench``, or its folder.

    Returns:
        The report.

    Raises:
        InputError: The file cannot be read, is not a report, or has another schema version.
    """
    file = Path(path)
    if file.is_dir():
        file = file / REPORT_NAME
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        version = msgspec.json.decode(content, type=_SchemaVersion).schema_version
        if 1 <= version <= SCHEMA_VERSION:
            return msgspec.json.decode(content, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not a report of trimf bench: {one_line(error)}") from None
    raise InputError(
        f"{file}: schema_version must be 1 to {SCHEMA_VERSION}, got {version}; run trimf bench again with this version"
    )


def pair_report_files(a: str | Path, b: str | Path) -> dict[str, tuple[Path, Path]]:
    """List the reports to compare below two paths.

    Args:
        a: A report, its folder, or a folder of folders of reports.
        b: Another.

    Returns:
        Name -> file of A and file of B. Reports of two folders of many belong together by their path below the folder;
        a single report is compared with each of the other side.

    Raises:
        InputError: A folder holds no report, or two folders of many have no name in common.
    """
    found_a, found_b = find_reports(a), find_reports(b)
    if len(found_a) == 1 or len(found_b) == 1:
        names = found_b if len(found_a) == 1 else found_a
        (single,) = (found_a if len(found_a) == 1 else found_b).values()
        return {name: (single, path) if len(found_a) == 1 else (path, single) for name, path in names.items()}
    common = {name: (path, found_b[name]) for name, path in found_a.items() if name in found_b}
    if not common:
        raise InputError(
            f"{a} and {b} have no report of the same name: {', '.join(found_a)} against {', '.join(found_b)};"
            " give two reports"
        )
    return common


def find_reports(path: str | Path) -> dict[str, Path]:
    """Find the reports at a path.

    Args:
        path: A report, its folder, or a folder of folders of reports.

    Returns:
        Path of the report's folder below ``path`` -> file, in the order of the names.

    Raises:
        InputError: A folder holds no report.
    """
    folder = Path(path)
    if not folder.is_dir():
        return {folder.name: folder}
    if (folder / REPORT_NAME).is_file():
        return {folder.name: folder / REPORT_NAME}
    reports = {file.parent.relative_to(folder).as_posix(): file for file in sorted(folder.rglob(REPORT_NAME))}
    if not reports:
        raise InputError(f"{folder}: holds no {REPORT_NAME}; give a report of trimf bench --output, or its folder")
    return reports
