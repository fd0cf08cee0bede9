"""Teach the trigger sensor of a bundle, and write the result as a new bundle with the same graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trimf_train.data.file_hashes import hash_file
from trimf_train.evaluation.model_loading import open_bundle
from trimf_train.triggers.deletion_cache import DeletionCache
from trimf_train.triggers.taught_models import hash_data, read_sentences_to_reduce
from trimf_train.triggers.teaching import TaughtSensor, teach_sensor

from ..runtime.bundle.manifest import EFFECTS_FILE, SCHEMA_VERSION, encode_manifest
from ..runtime.bundle.reader import Bundle
from .bundle_writer import describe_file, open_writable_bundle, write_bundle_file


def teach_bundle(
    path: str | Path,
    data: Sequence[Path],
    dev: Path | None,
    output: Path,
    *,
    cache: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    overwrite: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> TaughtSensor:
    """Teach the trigger sensor of a bundle what its own graphs rest on; no checkpoint is needed.

    Args:
        path: Bundle to read, or ``default``.
        data: Files with the sentences to leave words out of, in any format of the data readers.
        dev: File with the sentences that choose the floor; None takes a part of ``data``.
        output: Bundle folder to write.
        cache: File that keeps what was measured, so that a run that is stopped goes on; None keeps nothing.
        seed: Seed of the training.
        threads: CPU threads for inference; None uses all cores.
        overwrite: Replace ``output`` if it exists.
        log: Called with a line of text at each step.

    Returns:
        The sensor.

    Raises:
        BundleError: The bundle is damaged.
        BackendError: No backend can run it.
        DataError: The data cannot be used, or hold too few relations.
        InputError: ``output`` exists and ``overwrite`` is false.
    """
    with open_writable_bundle(path, output, overwrite=overwrite) as folder:
        bundle, _, pipeline = open_bundle(path, threads)
        manifest = bundle.manifest
        parser = manifest.parser.name if manifest.parser.source == "spacy" else None
        taught = teach_sensor(
            pipeline,
            read_sentences_to_reduce(data, manifest.language, parser),
            read_sentences_to_reduce([dev] if dev else [], manifest.language, parser),
            cache=DeletionCache(cache, f"{hash_file(bundle.path / 'manifest.json')} {hash_data(data, dev)}"),
            seed=seed,
            log=log,
        )
        content = taught.effects.to_bytes()
        write_bundle_file(folder, EFFECTS_FILE, content)
        replaced = msgspec.structs.replace(
            manifest,
            schema_version=SCHEMA_VERSION,
            triggers="effect",
            trigger_floor=taught.floor,
            files=dict(sorted({**manifest.files, EFFECTS_FILE: describe_file(content)}.items())),
        )
        write_bundle_file(folder, "manifest.json", encode_manifest(replaced))
        Bundle(folder).read(EFFECTS_FILE)
    return taught
