"""Find and read the rows of a Hugging Face data set: Arrow as ``save_to_disk`` writes it, Parquet, or JSON lines.

Arrow and Parquet need pyarrow, which the extra ``datasets`` brings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from trimf.runtime.errors import DataError
from trimf.runtime.extras import require_extra

from .json_errors import decode_record, field_error, read_bytes, short_repr
from .json_records import read_json_records

#: First bytes of Parquet files, of Arrow files and of Arrow streams.
_MAGIC = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "stream"}
_SUFFIXES = (".parquet", ".arrow", ".jsonl", ".json")
#: File name of a split: train.parquet, train-00000-of-00002.parquet, and what save_to_disk writes.
_SHARD = re.compile(r"(?P<split>.+?)(?:-(?P<number>\d{5})-of-\d{5}.*)?")
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Row(NamedTuple):
    """One row; ``location`` starts error messages."""

    values: dict[str, Any]
    location: str


def is_dataset_path(path: Path) -> bool:
    """Return True for a folder that ``save_to_disk`` or the hub writes, and for an Arrow or Parquet file."""
    if path.is_dir():
        saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
        return saved or any(_list_data_files(path))
    return _kind_of(path) is not None


def list_dataset_files(path: Path) -> list[Path]:
    """Return the files whose rows are read when a folder or a file is given.

    A file that is one of several shards stands for its split.

    Raises:
        DataError: The folder has several splits, or a file that it names is missing.
    """
    if not path.is_dir():
        match = _SHARD.fullmatch(path.stem)
        if match is None or match["number"] is None:
            return [path]
        return sorted(path.parent.glob(f"{_escape(match['split'])}-?????-of-?????*{path.suffix}"))
    if (path / "dataset_dict.json").is_file():
        splits = _read_object(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits) or not splits:
            raise field_error(str(path / "dataset_dict.json"), "splits", splits, "a list of names")
        _check_one_split(path, sorted(splits))
        return list_dataset_files(_inside(path, splits[0]))
    if (path / "state.json").is_file():
        return _list_saved_files(path)
    files = _list_data_files(path)
    if not files:
        raise DataError(f"{path}: is a folder without Arrow, Parquet or JSON files, so no data set")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        match = _SHARD.fullmatch(file.stem)
        by_split.setdefault(str(file.parent / (match["split"] if match else file.stem)), []).append(file)
    _check_one_split(path, sorted(str(group[0].relative_to(path)) for group in by_split.values()))
    return files


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of a data set in file order, with the names of class labels instead of their numbers.

    Raises:
        DataError: A file is missing or cannot be read.
        BackendError: The files need pyarrow, which is not installed.
    """
    for file in list_dataset_files(path):
        if _kind_of(file) is None:
            for record in read_json_records(file):
                location = f"{file}: {record.name}"
                values = decode_record(_OBJECT, record.content, location)
                yield Row({name: _name_classes(value, None) for name, value in values.items()}, location)
        else:
            yield from _read_table(file)


def read_columns(path: Path) -> list[str] | None:
    """Return the names of the columns; None if they cannot be read here."""
    try:
        return list(next(read_rows(path)).values)
    except Exception:  # the reader says what is wrong
        return None


def _check_one_split(path: Path, splits: list[str]) -> None:
    if len(splits) > 1:
        example = next((name for name in splits if "train" in name), splits[0])
        parts = ", ".join(map(short_repr, splits))
        raise DataError(f"{path}: has the parts {parts}; name one of them, such as {path / example}")


def _list_data_files(folder: Path) -> list[Path]:
    """Return the data files of a folder, or of its subfolder ``data``, as on the hub."""
    for place in (folder, folder / "data"):
        kept = [path for path in sorted(place.glob("*")) if path.suffix in _SUFFIXES and path.is_file()]
        files = [path for path in kept if not path.name.startswith((".", "dataset_info", "dataset_dict", "state"))]
        files = [path for path in files if not path.name.endswith(".source.json")]  # trimf prepare writes these
        if files:
            return files
    return []


def _list_saved_files(folder: Path) -> list[Path]:
    """Return the Arrow files that the state of a saved data set names."""
    state = _read_object(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(f"{folder}: has a table of indices; save it with a present version of datasets")
    try:
        names = [item["filename"] for item in state["_data_files"]]
        files = [_inside(folder, name) for name in names]
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'state.json'}: must name its files in _data_files") from error
    if missing := [file for file in files if not file.is_file()]:
        raise DataError(f"{missing[0]}: no such file, but state.json names it")
    return files


def _inside(folder: Path, name: str) -> Path:
    """Return a path in a folder; refuse a name that leads out of it."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise DataError(f"{folder}: names the file {short_repr(name)}, which is not in this folder")
    return folder / name


def _read_object(path: Path) -> dict[str, Any]:
    return decode_record(_OBJECT, read_bytes(path), str(path))


def _kind_of(path: Path) -> str | None:
    """Return what kind of Arrow data a file is; None for another file."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError:
        return None
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def _read_table(path: Path) -> Iterator[Row]:
    """Yield the rows of an Arrow or Parquet file, one batch in memory at a time."""
    require_extra("datasets", "pyarrow", purpose=f"{path}: reading Arrow and Parquet files")
    import pyarrow

    number = 0
    try:
        with pyarrow.memory_map(str(path)) as source:
            batches, schema = _open_table(_kind_of(path) or "", source)
            features = _read_features(path, schema)
            for batch in batches:
                for values in batch.to_pylist():
                    number += 1
                    named = {name: _name_classes(value, features.get(name)) for name, value in values.items()}
                    yield Row(named, f"{path}: row {number}")
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path}: cannot be read as Arrow or Parquet ({reason})") from error


def _open_table(kind: str, source: Any) -> tuple[Iterator[Any], Any]:
    """Return the batches of a file and its schema."""
    if kind == "parquet":
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(source)
        return file.iter_batches(), file.schema_arrow
    from pyarrow import ipc

    if kind == "arrow":
        reader = ipc.open_file(source)
        return (reader.get_batch(index) for index in range(reader.num_record_batches)), reader.schema
    stream = ipc.open_stream(source)
    return iter(stream), stream.schema


def _read_features(path: Path, schema: Any) -> Mapping[str, Any]:
    """Return the features of the columns, from the schema or the file that describes a saved data set."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    if text:
        location = f"{path}: metadata huggingface"
        features = decode_record(_OBJECT, text, location).get("info", {}).get("features", {})
    elif (path.parent / "dataset_info.json").is_file():
        features = _read_object(path.parent / "dataset_info.json").get("features")
    else:
        features = {}
    return features if isinstance(features, dict) else {}


def _name_classes(value: Any, feature: Any) -> Any:
    """Return a value with the names of class labels, and a list of objects for an object of lists.

    The library datasets stores a sequence of objects as an object of lists.
    """
    if isinstance(feature, list) and len(feature) == 1:
        feature = {"_type": "List", "feature": feature[0]}
    feature = feature if isinstance(feature, dict) else {}
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names") or []
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
    inner = feature.get("feature") if "_type" in feature and "feature" in feature else None
    if isinstance(value, list):
        return [_name_classes(item, inner) for item in value]
    if isinstance(value, dict):
        fields = inner if isinstance(inner, dict) and "_type" not in inner else feature
        named = {name: _name_classes(item, fields.get(name)) for name, item in value.items()}
        return _split_lists(named)
    return value


def _split_lists(value: dict[str, Any]) -> Any:
    """Return a list of objects if an object has lists of one length alone, else the object."""
    lists = list(value.values())
    if not lists or not all(isinstance(item, list) for item in lists) or len({len(item) for item in lists}) > 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]


def _escape(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
