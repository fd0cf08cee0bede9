"""Find what deserves a question in annotated data, one line each, before a model is trained or evaluated on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from trimf.runtime.output.plain_text import make_visible

from .sentence import Sentence

#: A label with fewer examples is hardly learnt.
MIN_EXAMPLES = 10

#: Share of all entities, or of all relations, beyond which one label is nearly everything; looked at from
#: ``MIN_ANNOTATIONS`` of them.
DOMINANT_SHARE = 0.95
MIN_ANNOTATIONS = 50

#: Number of labels and of ids that a line names.
MAX_NAMED = 5


@dataclass(slots=True)
class DataProfile:
    """What the questions about a data set are asked of, filled by ``add`` in little memory a sentence.

    Attributes:
        texts: Number of sentences by the hash of their words.
        ids: Number of sentences by the hash of their id, without those that have none.
        repeated_ids: The first few ids that several sentences have.
        entity_types: Number of entities by label.
        relation_types: Number of relations by label.
        widths: Number of entities by their length in words.
        words: Number of words.
        words_in_entities: Number of words that are part of an entity.
    """

    texts: Counter[bytes] = field(default_factory=Counter)
    ids: Counter[bytes] = field(default_factory=Counter)
    repeated_ids: list[str] = field(default_factory=list)
    entity_types: Counter[str] = field(default_factory=Counter)
    relation_types: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    words: int = 0
    words_in_entities: int = 0

    @classmethod
    def of(cls, sentences: Iterable[Sentence]) -> DataProfile:
        """Return the profile of sentences."""
        profile = cls()
        for sentence in sentences:
            profile.add(sentence)
        return profile

    def add(self, sentence: Sentence) -> None:
        """Count one sentence."""
        self.texts[_hash("\0".join(sentence.tokens))] += 1
        if sentence.id:
            key = _hash(sentence.id)
            self.ids[key] += 1
            if self.ids[key] == 2 and len(self.repeated_ids) < MAX_NAMED:
                self.repeated_ids.append(sentence.id)
        self.entity_types.update(entity.type for entity in sentence.entities)
        self.relation_types.update(relation.type for relation in sentence.relations)
        self.widths.update(entity.end - entity.start for entity in sentence.entities)
        self.words += len(sentence.tokens)
        self.words_in_entities += len(
            {word for entity in sentence.entities for word in range(entity.start, entity.end)}
        )


def ask_about_data(data: DataProfile, max_span: int | None = None) -> list[str]:
    """List the questions about one data set, most serious first.

    Args:
        data: The profile of its sentences.
        max_span: Longest entity in words that the model may find; None asks nothing about it.

    Returns:
        One line of text a question, without the name of the data; empty if there are none.
    """
    lines = []
    for kind, counts in (("entity", data.entity_types), ("relation", data.relation_types)):
        lines += [
            f"the {kind} types {_name_all(alike)} differ in case or spaces alone: are they one?"
            for alike in find_similar_labels(counts)
        ]
    if not data.entity_types:
        lines.append("no sentence has an entity: is the annotation in this file?")
    longer = sum(count for width, count in data.widths.items() if max_span is not None and width > max_span)
    if longer:
        lines.append(
            f"{_count(longer, 'entity', 'entities')} of more than {max_span} words cannot be found by a model with "
            f"model.span.max_width = {max_span}"
        )
    if repeated := sum(count - 1 for count in data.texts.values()):
        lines.append(
            f"{_count(repeated, 'sentence repeats', 'sentences repeat')} another word for word: "
            "is each to count more than once?"
        )
    if repeated := sum(count - 1 for count in data.ids.values()):
        named = ", ".join(make_visible(name) for name in data.repeated_ids)
        lines.append(
            f"{_count(repeated, 'sentence has', 'sentences have')} the id of another, such as {named}: "
            "is a document in the data twice?"
        )
    for kind, counts in (("entity", data.entity_types), ("relation", data.relation_types)):
        if rare := {label: count for label, count in sorted(counts.items()) if count < MIN_EXAMPLES}:
            lines.append(
                f"{_count(len(rare), f'{kind} type has', f'{kind} types have')} fewer than {MIN_EXAMPLES} examples, "
                f"too few to learn well: {_name_all([f'{label} {count}' for label, count in rare.items()])}"
            )
        label, most = counts.most_common(1)[0] if counts else ("", 0)
        total = sum(counts.values())
        if len(counts) > 1 and total >= MIN_ANNOTATIONS and most > DOMINANT_SHARE * total:
            lines.append(f"{most} of {total} {kind} labels are {make_visible(label)}: the others will hardly be learnt")
    if data.words and data.words_in_entities == data.words:
        lines.append(
            "every word is part of an entity, so there is no example of what is none: keep sentences as they are, "
            "with the words around the entities"
        )
    return lines


def ask_about_split(train: DataProfile, dev: DataProfile) -> list[str]:
    """List the questions about training data and development data together.

    Args:
        train: The profile of the training sentences.
        dev: The profile of the development sentences.

    Returns:
        One line of text a question; empty if there are none.
    """
    lines = []
    total = sum(dev.texts.values())
    if shared := sum(count for text, count in dev.texts.items() if text in train.texts):
        same = "dev is train" if shared == total else "dev and train share sentences"
        lines.append(
            f"{same}: {shared} of {_count(total, 'dev sentence', 'dev sentences')} ({shared / total:.0%}) "
            "are also in train, so that scores on dev are too high; use sentences that train does not have"
        )
    for kind, known, asked in (
        ("entity", train.entity_types, dev.entity_types),
        ("relation", train.relation_types, dev.relation_types),
    ):
        if new := sorted(asked.keys() - known.keys()):
            lines.append(
                f"{_count(len(new), f'{kind} type of dev is', f'{kind} types of dev are')} not in train and cannot be "
                f"learnt: {_name_all(_hint_at_similar(new, known))}"
            )
    if train.entity_types and not dev.entity_types:
        lines.append("dev has no entities, so every epoch scores 0 on it; use annotated sentences")
    elif train.relation_types and not dev.relation_types:
        lines.append(
            "dev has no relations, but train has: relation F1 on dev is 0 in every epoch, and entity F1 alone chooses "
            "the best"
        )
    return lines


def compare_label_sets(data_types: Collection[str], model_types: Collection[str]) -> str | None:
    """Compare the entity types of evaluation data with those of a model.

    Args:
        data_types: Entity types in the data.
        model_types: Entity types that the model can predict.

    Returns:
        A line about types that the model does not have, whose entities count as missed; None if there are none.
    """
    unknown = sorted(set(data_types) - set(model_types))
    if not unknown:
        return None
    named = _name_all(_hint_at_similar(unknown, model_types))
    if len(unknown) == len(set(data_types)):
        return (
            f"the data and the model have no entity type in common, so every score is 0: the data have {named}; the "
            f"model has {_name_all(sorted(model_types))}"
        )
    what = _count(len(unknown), "entity type is", "entity types are")
    return f"{what} not one of the model, so such entities count as missed: {named}"


def find_similar_labels(labels: Iterable[str]) -> list[list[str]]:
    """Find labels that differ in letter case, spaces, hyphens or underscores alone.

    Args:
        labels: The labels.

    Returns:
        Groups of two or more, sorted.
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        groups.setdefault(_fold(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _hint_at_similar(labels: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return labels, each with the known label that differs from it in case or spaces alone."""
    folded = {_fold(label): label for label in known}
    return [f"{label} (is it {folded[_fold(label)]}?)" if _fold(label) in folded else label for label in labels]


def _fold(label: str) -> str:
    return "".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _name_all(labels: Collection[str]) -> str:
    """Return the first few labels, quoted where spaces at an end would not be seen."""
    shown = [repr(label) if label != label.strip() else make_visible(label) for label in list(labels)[:MAX_NAMED]]
    rest = len(labels) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
