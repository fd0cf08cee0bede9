"""Split text into words by the rules of a language, with the words of spaCy's rule tokenizer.

The algorithm is spaCy's (https://spacy.io/usage/linguistic-features#how-tokenizer-works). Prefixes and suffixes are
split off a chunk until a special case is left or nothing more can be split off; infixes divide the rest. Then special
cases are looked for in the words of the whole text, because a case such as ":)" may have been divided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .ascii_patterns import narrow_pattern
from .bounded_cache import BoundedCache
from .word_rules import WordRules

#: Number of chunks of whole texts that are remembered, see ``BoundedCache``, and their maximum number of characters.
MAX_KNOWN_CHUNKS = 10_000
MAX_KNOWN_CHUNK_CHARS = 40

_CHUNK_OR_SPACE = re.compile(r"\s+|\S+")

#: Key of a node at which a phrase ends.
_END = ""

_Search = Callable[[str], re.Match[str] | None]


class _Span(NamedTuple):
    """Words ``start`` to ``end`` (exclusive) of a text that form a phrase."""

    start: int
    end: int


class _Patterns(NamedTuple):
    """Methods of the compiled patterns of ``WordRules``, None where there is no pattern."""

    find_prefix: _Search | None
    find_suffix: _Search | None
    find_infixes: Callable[[str], Iterator[re.Match[str]]] | None
    is_token: _Search | None
    is_url: _Search | None


def _compile_patterns(rules: WordRules, *, ascii_only: bool) -> _Patterns:
    """Compile patterns, which takes 35 ms for text of all scripts, and 5 ms for ASCII alone."""
    prefix, suffix, infix, token_match, url_match = (
        re.compile(narrow_pattern(pattern) if ascii_only and isinstance(pattern, str) else pattern) if pattern else None
        for pattern in (rules.prefix, rules.suffix, rules.infix, rules.token_match, rules.url_match)
    )
    return _Patterns(
        prefix.search if prefix else None,
        suffix.search if suffix else None,
        infix.finditer if infix else None,
        token_match.match if token_match else None,
        url_match.match if url_match else None,
    )


class RuleTokenizer:
    """Tokenizer by rules; any number of threads may use it.

    Attributes:
        has_spaced_cases: Whether a special case of the language contains white space, so that chunks cannot be split
            one by one.

    Args:
        rules: The rules of the language.
    """

    def __init__(self, rules: WordRules) -> None:
        self._rules = rules
        self._patterns: dict[bool, _Patterns] = {}  # for ASCII alone, and for any text: compiled when first needed
        self._cases = {"".join(words): words for words in rules.cases}
        self.has_spaced_cases = any(len(case.split()) > 1 for case in self._cases)
        self._phrases: dict[str, Any] = {}  # node: next word -> node
        for words in rules.phrases:
            node = self._phrases
            for word in words:
                node = node.setdefault(word, {})
            node[_END] = None
        self._known = BoundedCache[tuple[str, ...]](MAX_KNOWN_CHUNKS, MAX_KNOWN_CHUNK_CHARS)

    def split_chunk(self, chunk: str) -> tuple[str, ...]:
        """Split a chunk by prefixes, suffixes, infixes and, at each step, special cases.

        Args:
            chunk: Text without white space, or white space alone.

        Returns:
            The words, which joined are the chunk.
        """
        patterns = self._find_patterns(chunk)
        cases, is_token = self._cases, patterns.is_token
        find_prefix, find_suffix = patterns.find_prefix, patterns.find_suffix
        words: list[str] = []
        suffixes: list[str] = []
        rest, last_length = chunk, 0
        while rest and len(rest) != last_length:
            if rest in cases or (is_token and is_token(rest)):
                break
            last_length = len(rest)
            match = find_prefix(rest) if find_prefix else None
            prefix_length = match.end() - match.start() if match else 0
            if prefix_length and rest[prefix_length:] in cases:
                words.append(rest[:prefix_length])
                rest = rest[prefix_length:]
                break
            match = find_suffix(rest[prefix_length:] if prefix_length else rest) if find_suffix else None
            suffix_length = match.end() - match.start() if match else 0
            stop = len(rest) - suffix_length
            if suffix_length:
                suffixes.append(rest[stop:])
                if rest[:stop] in cases:
                    rest = rest[:stop]
                    break
            if prefix_length:
                words.append(rest[:prefix_length])
            rest = rest[prefix_length:stop]
        if rest in cases:
            words += cases[rest]
        elif rest:
            _split_infixes(rest, patterns, words)
        words += reversed(suffixes)
        return tuple(words)

    def depends_on_neighbours(self, words: Sequence[str]) -> bool:
        """Return True if special cases change the words of a chunk, unless words around it hide them.

        A phrase across white space changes no words unless a special case contains white space, but it hides those that
        overlap with it: "no:)" alone is "no", ":)", but in "no:) )" it is "no", ":", ")".

        Args:
            words: The words of the chunk, from ``split_chunk``.
        """
        for span in self._find_phrases(words):
            part = tuple(words[span.start : span.end])
            if self._cases.get("".join(part), part) != part:
                return True
        return False

    def tokenize(self, text: str) -> list[tuple[str, int]]:
        """Split a text into words.

        Args:
            text: The text.

        Returns:
            Each word with the index of its first character in the text, without white space.
        """
        words, starts = self.split_text(text)
        return [(word, start) for word, start in self._apply_cases(text, words, starts) if not word.isspace()]

    def split_text(self, text: str) -> tuple[list[str], list[int]]:
        """Split a text chunk by chunk, without putting special cases together.

        Args:
            text: The text.

        Returns:
            The words, including white space but the spaces that separate words, and the index of the first character of
            each.
        """
        words: list[str] = []
        starts: list[int] = []
        for part in _CHUNK_OR_SPACE.finditer(text):
            chunk, start = part.group(), part.start()
            if start and chunk[0] == " ":  # what separates two words is no word, unlike further white space
                chunk, start = chunk[1:], start + 1
            for word in self._recall_chunk(chunk) if chunk else ():
                words.append(word)
                starts.append(start)
                start += len(word)
        return words, starts

    def has_match(self, chunk: str) -> bool:
        """Return True if a prefix, suffix or infix that is not empty is found in a chunk."""
        patterns = self._find_patterns(chunk)
        for find in (patterns.find_prefix, patterns.find_suffix):
            match = find(chunk) if find else None
            if match and match.group():
                return True
        return bool(patterns.find_infixes and any(patterns.find_infixes(chunk)))

    def _find_patterns(self, chunk: str) -> _Patterns:
        """Return the patterns to use for a chunk."""
        ascii_only = chunk.isascii()
        patterns = self._patterns.get(ascii_only)
        if patterns is None:  # without a lock: threads may compile them twice, but a fork leaves nothing locked
            patterns = self._patterns[ascii_only] = _compile_patterns(self._rules, ascii_only=ascii_only)
        return patterns

    def _recall_chunk(self, chunk: str) -> tuple[str, ...]:
        """Return ``split_chunk`` of a chunk, from memory if possible."""
        (words,) = self._known.find([chunk])
        if words is None:
            words = self.split_chunk(chunk)
            self._known.add({chunk: words})
        return words

    def _apply_cases(self, text: str, words: list[str], starts: list[int]) -> Iterator[tuple[str, int]]:
        """Yield words and their starts after special cases that are among the words have been put together."""
        ends = {span.start: span.end for span in _choose_spans(self._find_phrases(words))}
        index = 0
        while index < len(words):
            end = ends.get(index, index + 1)
            start = starts[index]
            case = self._cases.get(text[start : starts[end - 1] + len(words[end - 1])]) if index in ends else None
            if case is None:
                yield from zip(words[index:end], starts[index:end], strict=True)
            else:
                for word in case:
                    yield word, start
                    start += len(word)
            index = end

    def _find_phrases(self, words: Sequence[str]) -> list[_Span]:
        """Return every place at which words form a phrase."""
        spans = []
        for start, first in enumerate(words):
            node = self._phrases.get(first)
            end = start + 1
            while node is not None:
                if _END in node:
                    spans.append(_Span(start, end))
                node = node.get(words[end]) if end < len(words) else None
                end += 1
        return spans


def _split_infixes(text: str, patterns: _Patterns, words: list[str]) -> None:
    """Append the parts of a chunk without affixes to words."""
    matches = list(patterns.find_infixes(text)) if patterns.find_infixes else []
    if not matches or (patterns.is_token and patterns.is_token(text)) or (patterns.is_url and patterns.is_url(text)):
        words.append(text)
        return
    start = 0
    for match in matches:
        if match.start() == 0:
            continue
        words += filter(None, (text[start : match.start()], match.group()))
        start = match.end()
    if start < len(text):
        words.append(text[start:])


def _choose_spans(spans: list[_Span]) -> list[_Span]:
    """Return the spans to use where some overlap: the longest, then the first. Spans left out hide others, too."""
    chosen = []
    seen: set[int] = set()
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if span.start not in seen and span.end - 1 not in seen:
            chosen.append(span)
        seen.update(range(span.start, span.end))
    return chosen
