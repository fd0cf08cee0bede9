"""Count what a reader leaves out or changes, by label and with examples, so that nothing is lost in silence."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from trimf.runtime.output.plain_text import make_visible

from .label_lists import list_labels

#: Number of examples that are kept of each kind, and of characters of each.
MAX_EXAMPLES = 3
MAX_EXAMPLE_CHARS = 200


class Kind(NamedTuple):
    """Kind of loss or change: what is counted, which of them, and what was done, as in "2 relations across sentences".

    ``done`` is empty for what was left out.
    """

    items: str
    which: str
    done: str = ""


#: What readers report, by name.
KINDS: dict[str, Kind] = {
    "empty_sentences": Kind("sentences", "without words"),
    "relations_across_sentences": Kind("relations", "across sentences"),
    "relations_with_itself": Kind("relations", "of an entity with itself"),
    "relations_without_entities": Kind("relations", "of documents without entities"),
    "entities_across_sentences": Kind("entities", "across sentences"),
    "misaligned_entities": Kind("entities", "with a start or end inside a word"),
    "relations_of_unknown_entities": Kind("relations", "whose ends are no labelled entities"),
    "discontinuous_entities": Kind("entities", "in several pieces"),
    "blank_entities": Kind("entities", "of white space alone"),
    "unlabelled_entities": Kind("entities", "without a label"),
    "relations_of_lost_entities": Kind("relations", "of such entities"),
    "snapped_entities": Kind("entities", "that began or ended inside a word", "extended to whole words"),
    "other_annotations": Kind("annotations", "of other kinds"),
    "unannotated_documents": Kind("documents", "without annotation"),
    "rejected_documents": Kind("documents", "that the annotator rejected or skipped"),
    "further_annotations": Kind("annotations", "of documents that were annotated several times"),
    "unlabelled_relations": Kind("relations", "without a label", 'called "related"'),
    "converted_offsets": Kind("documents", "with offsets in other units", "converted"),
    "unchecked_offsets": Kind("documents", "with ambiguous offsets", "read by the ends of words"),
    "trimmed_entities": Kind("entities", "with white space at an end", "shortened by it"),
}


@dataclass(slots=True)
class ReadingReport:
    """What a reader left out and changed, filled while the file is read.

    Attributes:
        counts: Numbers by the names of ``KINDS``.
        labels: The same numbers by label.
        examples: The first few of each kind.
    """

    counts: Counter[str] = field(default_factory=Counter)
    labels: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, label: str = "", example: str = "") -> None:
        """Count one item.

        Args:
            kind: A name of ``KINDS``.
            label: Label of the item, if it has one.
            example: The item in its context, for the first few.
        """
        if kind not in KINDS:
            raise KeyError(kind)
        self.counts[kind] += 1
        if label:
            self.labels[kind][label] += 1
        if example and len(self.examples[kind]) < MAX_EXAMPLES:
            self.examples[kind].append(make_visible(example)[:MAX_EXAMPLE_CHARS])

    def describe_left_out(self) -> str:
        """Describe what was left out as one phrase; empty if nothing was."""
        return ", ".join(self._count(name) for name, kind in KINDS.items() if self.counts[name] and not kind.done)

    def describe_changes(self) -> str:
        """Describe what was changed as one phrase; empty if nothing was."""
        return ", ".join(
            f"{self._count(name)} {kind.done}" for name, kind in KINDS.items() if self.counts[name] and kind.done
        )

    def list_lines(self) -> list[str]:
        """List every kind that occurred, with its labels and its examples."""
        lines = []
        for name, kind in KINDS.items():
            if not self.counts[name]:
                continue
            what = f"{self.counts[name]:>8}  {kind.items} {kind.which} {kind.done or 'left out'}"
            lines += list_labels(what, self.labels[name])
            lines += [f"          such as {example}" for example in self.examples[name]]
        return lines

    def count_lost(self, items: str) -> Counter[str]:
        """Count what was left out, by label.

        Args:
            items: ``entities`` or ``relations``.
        """
        lost: Counter[str] = Counter()
        for name, kind in KINDS.items():
            if kind.items == items and not kind.done:
                lost.update(self.labels[name])
        return lost

    def _count(self, name: str) -> str:
        count, (items, which, _) = self.counts[name], KINDS[name]
        singular = {"entities": "entity"}.get(items, items.removesuffix("s"))
        return f"{count:,} {singular if count == 1 else items} {which}"
