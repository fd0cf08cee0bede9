"""Format a study of triggers as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trimf.runtime.output.plain_text import escape_markdown

from .deletion_curves import EXACT
from .measures import GroupMeasures
from .resampling import Estimate
from .study import TriggerStudy
from .word_table import Example, TypeWords


def format_study(study: TriggerStudy) -> Iterator[str]:
    """Format a study.

    Args:
        study: The study.

    Yields:
        Paragraphs and tables, to be separated by empty lines.
    """
    overall = study.groups[0]
    yield (
        f"{overall.relations} relations found in {overall.sentences} of {study.sentences} sentences; leaving out one "
        f"word lowers {overall.with_trigger} of them by more than {study.effect_threshold:g} in the logit. In brackets "
        f"95 % intervals from {study.resamples} resamples of the sentences."
    )
    if study.split_sentences:
        yield f"Left out: {study.split_sentences} sentences that do not fit one window of the encoder."
    if study.left_out:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in study.left_out.items())
        yield escape_markdown(f"Methods left out: {reasons}.")
    if not overall.relations:
        return
    yield "\n".join(_format_agreement(overall))
    yield f"A random candidate word is the first one in {_percent(overall.chance)} of the relations with a trigger."
    yield "\n".join(_format_curves(overall))
    yield "\n".join(_format_types(study.groups[1:]))
    yield "\n".join(_format_words(study.words))
    yield "\n".join(_format_examples(study.examples))


def _format_agreement(group: GroupMeasures) -> Iterator[str]:
    """Yield the lines of the table of agreement with leaving words out."""
    yield from _format_head(
        "word weights by", "first word right", "shows none", "has a trigger, AUC", "Pearson", "Spearman"
    )
    for one in group.methods:
        yield format_line(
            [
                one.method,
                _format_share(one.first_word),
                _percent(one.none_shown),
                _format_estimate(one.has_trigger_auc),
                _number(one.pearson),
                _number(one.spearman),
            ]
        )


def _format_curves(group: GroupMeasures) -> Iterator[str]:
    """Yield the lines of the table of deletion curves."""
    ks = [f"fall at k = {k + 1}" for k in range(len(group.curves[0].fall))]
    yield from _format_head("words left out by", *ks, "of the exact fall at k = 1")
    for curve in group.curves:
        falls = [_number(fall, 3) for fall in curve.fall]
        yield format_line([curve.method, *falls, _format_estimate(curve.ratio[0])])


def _format_types(groups: Sequence[GroupMeasures]) -> Iterator[str]:
    """Yield the lines of the table of measures per relation type and method."""
    yield from _format_head(
        "type", "relations", "with a trigger", "exact fall at k = 1", "word weights by", "first word right",
        "shows none", "AUC", "fall at k = 1",
    )  # fmt: skip
    for group in groups:
        falls = {curve.method: _number(curve.fall[0], 3) for curve in group.curves}
        for one in group.methods:
            yield format_line(
                [
                    group.group,
                    str(group.relations),
                    str(group.with_trigger),
                    falls[EXACT],
                    one.method,
                    _percent(one.first_word.value),
                    _percent(one.none_shown),
                    _number(one.has_trigger_auc.value),
                    falls[one.method],
                ]
            )


def _format_words(types: Sequence[TypeWords]) -> Iterator[str]:
    """Yield the lines of the table of words per relation type."""
    yield from _format_head("type", "first word by leaving out", "none", "first word shown", "none shown", text=True)
    for one in types:
        yield format_line(
            [
                one.label,
                _join_words(one.exact),
                f"{one.none_exact} of {one.relations}",
                _join_words(one.shown),
                f"{one.none_shown} of {one.relations}",
            ]
        )


def _format_examples(examples: Sequence[Example]) -> Iterator[str]:
    """Yield the lines of the table of examples."""
    yield from _format_head("sentence", "relation", "words shown", "words by leaving out, points", text=True)
    for example in examples:
        exact = ", ".join(f"{word} {100 * points:.0f}" for word, points in example.exact)
        relation = f"({example.head}, {example.label}, {example.tail})"
        yield format_line([example.text, relation, ", ".join(example.triggers), exact])


def format_line(cells: Sequence[str]) -> str:
    """Format a line of a Markdown table; nothing in a cell is markup."""
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _format_head(first: str, *others: str, text: bool = False) -> Iterator[str]:
    yield format_line([first, *others])
    yield format_line(["---", *["---" if text else "---:"] * len(others)])


def _join_words(words: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{word} {count}" for word, count in words)


def _format_share(estimate: Estimate) -> str:
    return _format_interval(_percent(estimate.value), _percent(estimate.low), _percent(estimate.high))


def _format_estimate(estimate: Estimate) -> str:
    return _format_interval(*map(_number, (estimate.value, estimate.low, estimate.high)))


def _format_interval(value: str, low: str, high: str) -> str:
    return f"{value} ({low}–{high})" if low and high else value


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"
