"""Extract from records and write the results; what is done is kept when a record cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import TrimfError
from ..extractor import Extractor
from ..files.output import open_output
from ..input.record_reader import Record
from ..relating.given_document import Misaligned
from ..results import Extraction, RecordExtraction
from ..streaming.text_stream import BadTexts, OnError
from .exchange.labelstudio import build_labelling_config
from .exchange.settings import Losses, SeenLabels, describe_model
from .writers import TOOL_FORMATS, check_destination, write_extractions


class ToolOptions(NamedTuple):
    """What the formats of annotation tools need besides the results.

    Attributes:
        from_name: Name of the tag ``Labels`` in Label Studio's labelling configuration.
        to_name: Name of its tag ``Text``.
        config: File to write the labelling configuration to, if any.
    """

    from_name: str = "label"
    to_name: str = "text"
    config: Path | None = None


def write_results(
    extractor: Extractor,
    records: Iterable[Record],
    format_: str,
    output: Path | None,
    batch_size: int = 32,
    workers: int = 1,
    processes: int = 1,
    given: GivenOptions | None = None,
    tool: ToolOptions | None = None,
    losses: Losses | None = None,
) -> int:
    """Extract from records and write one result for each.

    If an error ends the job, the results before it are written, as a complete file of the format, and then the error is
    raised with their number and place. An error before the first result leaves the output as it was.

    Args:
        extractor: The extractor.
        records: The records; each result has their fields too.
        format_: Output format, as in ``write_extractions``.
        output: File or folder to write; None is standard output.
        batch_size: Maximum number of sentences that go through the model at once.
        workers: Number of threads that process whole batches.
        processes: Number of processes that process whole texts.
        given: How the entities of the records are read, between which relations are looked for; None finds the entities
            too.
        tool: Names for Label Studio.
        losses: Counts what the format does not hold.

    Returns:
        The number of results.

    Raises:
        TrimfError: A record cannot be read, the model fails, or the file cannot be written.
    """
    check_destination(format_, output)
    tool = ToolOptions() if tool is None else tool
    losses = Losses() if losses is None else losses
    settings = describe_model(extractor.bundle, tool.from_name, tool.to_name)
    labels = SeenLabels(settings)
    if given is None:
        pairs = ((record.text, record) for record in records)
        stream = extractor.stream(pairs, batch_size, workers, processes=processes, on_error="stop", as_tuples=True)
    else:
        stream = extractor.relate_stream(
            (((record.text, record.entities), record) for record in records),
            batch_size,
            workers,
            types=given.types,
            misaligned=given.misaligned,
            processes=processes,
            on_error=given.on_error,
            as_tuples=True,
        )
    with ExitStack() as files:  # a configuration that cannot be written is found before anything is computed
        config = files.enter_context(open_output(tool.config)) if tool.config else None
        results = _ResultsUntilError(_add_record(extraction, record, format_, losses) for extraction, record in stream)
        write_extractions(labels.watch(results), format_, output, settings, losses)
        if config is not None:
            config.write(build_labelling_config(labels.entity_types, labels.relation_types, *tool[:2]))
    if given is not None:
        given.bad_texts.extend(stream.bad_texts)
    if (error := results.error) is not None:
        destination = "standard output" if output is None or str(output) == "-" else str(output)
        count = (
            f"the results of the {results.count} texts before it" if results.count > 1 else "the one result before it"
        )
        raise type(error)(f"{error} ({count} {'are' if results.count > 1 else 'is'} in {destination})") from error
    return results.count


class GivenOptions(NamedTuple):
    """How the entities of records are read.

    Attributes:
        types: For names of the records, the entity type of the model.
        misaligned: What to do with an entity that begins or ends inside a word; see ``Extractor.relate``.
        on_error: What to do with a record whose entities cannot be used; see ``Extractor.stream``.
        bad_texts: Where such records are counted.
    """

    types: dict[str, str]
    misaligned: Misaligned
    on_error: OnError
    bad_texts: BadTexts


class _ResultsUntilError(Iterator[Extraction]):
    """Results up to the first error, which is kept; an error in place of the first result is raised at once."""

    def __init__(self, results: Iterator[Extraction]) -> None:
        self.count = 0
        self.error: TrimfError | None = None
        self._results = results
        self._first = next(results, None)

    def __next__(self) -> Extraction:
        result, self._first = self._first, None
        if result is None:
            if self.error is not None or not self.count:
                raise StopIteration
            try:
                result = next(self._results)
            except TrimfError as error:
                self.error = error
                raise StopIteration from None
        self.count += 1
        return result


def _add_record(extraction: Extraction, record: Record, format_: str, losses: Losses) -> Extraction:
    """Return an extraction with the fields and the error of its record."""
    notices = extraction.notices
    if format_ in TOOL_FORMATS:
        for notice in notices:
            losses.add("limited results", notice)
    elif record.notice:
        notices += (record.notice,)
    error = record.error or extraction.error
    if error and format_ in ("text", "html"):  # which show notices only
        notices += (error,)
    changed = msgspec.structs.replace(extraction, error=error, notices=notices)
    if not record.fields:
        return changed
    return RecordExtraction(**msgspec.structs.asdict(changed), fields=record.fields)
