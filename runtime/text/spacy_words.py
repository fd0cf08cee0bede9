"""Words by the tokenizer of a spaCy pipeline, for languages without frozen rules."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .rule_tokenizer import RuleTokenizer
from .word_rules import WordRules
from .word_tokenizer import Token

if TYPE_CHECKING:
    from spacy.language import Language

#: Number of strings that a spaCy vocabulary may keep permanently (about 450 bytes each). Beyond that, new strings are
#: dropped after use.
MAX_NEW_STRINGS = 5_000

_lock = threading.Lock()
_initial_string_counts: WeakKeyDictionary[Language, int] = WeakKeyDictionary()


def bound_vocabulary(nlp: Language) -> AbstractContextManager[object]:
    """Return a context in which a pipeline may create documents without growing its vocabulary beyond a limit.

    spaCy keeps every string that it has ever seen. The first ``MAX_NEW_STRINGS`` new strings are kept, which
    makes common words fast. Once that limit is reached, the strings added inside the context are dropped when it ends.

    Args:
        nlp: The spaCy pipeline. Only one thread may use it, and so this context, at a time.

    Returns:
        A context manager. Documents created inside it must not be used after it ends.
    """
    strings = len(nlp.vocab.strings)
    if strings - _initial_string_counts.setdefault(nlp, strings) < MAX_NEW_STRINGS:
        return nullcontext()
    zone: AbstractContextManager[object] = nlp.memory_zone()
    return zone


class SpacyWordTokenizer:
    """Tokenizer of a spaCy pipeline; any number of threads may use it.

    Args:
        nlp: The pipeline. Nobody else may use it: its words lose all attributes but the two that are read here.
    """

    def __init__(self, nlp: Language) -> None:
        from spacy.attrs import IS_PUNCT, IS_SPACE

        self._nlp = nlp
        self._tokenizer: Any = nlp.tokenizer
        vocabulary: Any = nlp.vocab
        # spaCy computes all attributes of every new word, such as its shape and whether it is like a URL.
        vocabulary.lex_attr_getters = {key: vocabulary.lex_attr_getters[key] for key in (IS_PUNCT, IS_SPACE)}

    def tokenize(self, text: str, offset: int = 0) -> list[Token]:
        """Split a text into words.

        Args:
            text: The text.
            offset: Number to add to the index of each word.

        Returns:
            The words in order.
        """
        with _lock, bound_vocabulary(self._nlp):
            return [
                Token(token.text, offset + token.idx, token.is_punct)
                for token in self._tokenizer(text)
                if not token.is_space
            ]


def read_spacy_rules(nlp: Language) -> WordRules | None:
    """Read the word rules of a spaCy pipeline.

    Args:
        nlp: The pipeline.

    Returns:
        The rules; None if its tokenizer is not spaCy's rule tokenizer with the usual settings.
    """
    from spacy.attrs import ORTH
    from spacy.tokenizer import Tokenizer

    tokenizer: Any = nlp.tokenizer
    if type(tokenizer) is not Tokenizer or not tokenizer.faster_heuristics:
        return None
    patterns: dict[str, re.Pattern[str] | None] = {}
    for field, attribute, method in (
        ("prefix", "prefix_search", "search"),
        ("suffix", "suffix_search", "search"),
        ("infix", "infix_finditer", "finditer"),
        ("token_match", "token_match", "match"),
        ("url_match", "url_match", "match"),
    ):
        function: Callable[[str], Any] | None = getattr(tokenizer, attribute)
        pattern = patterns[field] = getattr(function, "__self__", None)
        if function is not None and not (isinstance(pattern, re.Pattern) and function == getattr(pattern, method)):
            return None
    cases = tuple(tuple(token[ORTH] for token in tokens) for _, tokens in sorted(tokenizer.rules.items()))
    rules = WordRules(**patterns, cases=cases, phrases=())
    return rules._replace(phrases=tuple(_find_phrases(rules)))


def _find_phrases(rules: WordRules) -> Iterator[tuple[str, ...]]:
    """Yield the words of those special cases that affixes, infixes or spaces divide."""
    patterns = RuleTokenizer(rules._replace(cases=()))
    for words in rules.cases:
        case = "".join(words)
        if " " in case or patterns.has_match(case):
            yield tuple(patterns.split_text(case)[0])
