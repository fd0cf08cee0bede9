"""List the abbreviations of English text, by what may follow their full stop.

Collected from the Associated Press style (states, months), military, police and academic titles, company names, units,
and the marks of bibliographies. A full stop after a word that is not listed ends the sentence.
"""

from __future__ import annotations

from enum import Enum


class AbbreviationKind(Enum):
    """What may follow the full stop of an abbreviation within the sentence.

    Attributes:
        TITLE: A name; only words that cannot be one start a sentence.
        PREFIX: Anything; a sentence never ends here.
        EITHER: A name, a number or a word in lower case; a capitalized function word starts a sentence.
        LOWER: A number or a word in lower case; a capitalized word starts a sentence.
        NUMBERED: A number, a letter or a Roman numeral; any other word starts a sentence.
    """

    TITLE = "title"
    PREFIX = "prefix"
    EITHER = "either"
    LOWER = "lower"
    NUMBERED = "numbered"


#: Titles, in any letter case.
_TITLES = """
    mr mrs ms mx messrs mme mlle dr drs prof profs lt sgt sgts cpl capt capts maj cmdr comdr lcdr pvt pfc adm msgr supt
    insp atty attys rabb
"""

#: Titles that must be capitalized, since they are words, or parts of words, in lower case.
_CAPITALIZED_TITLES = """
    Gen Gens Col Cols Gov Govs Sen Sens Rep Reps Rev Revs Hon Fr Br Pres Det Const Ens Brig Amb Ald Cdr Cdre Cpt Spec
    Spc Ofc Mt Ft Pte Rt Sra Srta Vice Asst Dep Comm Cmsr Coun Cllr Sec Min Chan Supv Bp Abp Card Ven Vis
"""

#: Abbreviations that always have more of the sentence after them.
_PREFIXES = "vs v cf e.g i.e eg ie viz approx ca incl excl esp resp aka a.k.a feat q.v c.f ibid u.a"

#: Abbreviations that occur within and at the end of sentences, in any letter case.
_EITHER = """
    al inc corp ltd llc plc bros jr sr esq dept depts govt assn assoc assocs univ intl natl bldg bldgs hosp mfg mfr
    blvd hwy expy fwy pkwy pp vol vols chap chaps ch sect sects para paras eq eqs eqn figs nos nr ref refs suppl ed eds
    transl proc symp conf op cit loc jan feb apr jun jul aug sept nov tues thurs ext tel est avg misc orig anon attn
    abbr dist prov apt rte cnty twp mtn mts terr admin pct sq cu ft lb lbs oz hrs mins yrs yr hr wk wks doz
"""

#: Abbreviations that occur within and at the end of sentences, and must be capitalized.
_CAPITALIZED_EITHER = """
    Co Cos Ala Ariz Ark Calif Cal Colo Conn Del Fla Ga Ill Ind Kan Kans Ky La Md Mass Mich Minn Miss Mo Mont Neb Nebr
    Nev Okla Ore Pa Penn Penna Tenn Tex Va Vt Wash Wis Wisc Wyo Ont Que Alta Sask Nfld Mar Sep Oct Dec St Ste Ave Av Rd
    Ln Pl Ct Dr Sta Jct Div Inst Acad Sci Assoc Corp Soc Dept Ed Eds Trans Int Lett Natl Med Phys Chem Biol Ser Bd Ctr
    Svc Svcs Ph Cie Cia Gebr Ges
"""

#: Abbreviations that are also words, or names, at the end of a sentence.
_LOWER = "etc max min temp std gen adj adv pop Thu Tue Mon"

#: Abbreviations that are also common words, before a number.
_NUMBERED = "no art fig ex tab pt bk sec rm p Sun Sat Wed"

#: Abbreviations of two letters that headlines have in capitals.
_HEADLINE_FORMS = frozenset(("MR", "MS", "DR", "LT", "ST", "CO", "JR", "SR", "NO", "VS", "FT"))

#: Units of measurement, which are abbreviations after a number.
_UNITS = """
    m km cm mm ft in yd yds mi oz lb lbs kg g mg t l ml s sec secs min mins h hr hrs kt kts mph bn mn mil tn k b w kw mw
    hp v kv hz khz mhz cc pt pts qt qts gal gals deg sq cu ha ac st c p yr yrs mo mos wk wks d
"""

_INTERJECTIONS_TEXT = """
    hm hmm hmmm mm mmm sh shh shhh psst pfft brr brrr grr grrr tsk zzz ssh ty thx tv
"""

#: Interjections without a vowel, which are no abbreviations.
_INTERJECTIONS = frozenset(_INTERJECTIONS_TEXT.split())

#: Maximum number of letters of an unlisted word without a vowel that counts as an abbreviation.
_MAX_VOWELLESS_LETTERS = 6

_VOWELS = frozenset("aeiouyAEIOUY")


def _list_kinds() -> dict[str, AbbreviationKind]:
    """Return the kind of each listed form; what may be in any letter case is listed in lower case and capitalized."""
    kinds: dict[str, AbbreviationKind] = {}
    for forms, kind, capitalized in (
        (_LOWER, AbbreviationKind.LOWER, False),
        (_NUMBERED, AbbreviationKind.NUMBERED, False),
        (_EITHER, AbbreviationKind.EITHER, False),
        (_CAPITALIZED_TITLES, AbbreviationKind.TITLE, True),
        (_CAPITALIZED_EITHER, AbbreviationKind.EITHER, True),
        (_PREFIXES, AbbreviationKind.PREFIX, False),
        (_TITLES, AbbreviationKind.TITLE, False),
    ):
        for form in forms.split():
            if not capitalized:
                kinds[form] = kind
            kinds[form[0].upper() + form[1:]] = kind
    # These are titles and something else: "St. Louis" and "Elm St.", "Dr. Smith" and "Elm Dr.", "Sec. 5".
    kinds.update(dict.fromkeys(("Sec", "Rt", "Ft", "Min"), AbbreviationKind.EITHER))
    return kinds


_KINDS = _list_kinds()
_UNIT_NAMES = frozenset(_UNITS.split())


def find_abbreviation_kind(word: str, word_before: str) -> AbbreviationKind | None:
    """Classify the word in front of a full stop.

    Args:
        word: The word without its full stop.
        word_before: The word before it, or an empty string.

    Returns:
        The kind of abbreviation; None if the word is none, so that its full stop ends a sentence.
    """
    if word_before and word_before[-1].isdecimal() and word.lower() in _UNIT_NAMES:
        return AbbreviationKind.LOWER
    if len(word) == 1 and word.isupper():  # an initial, or the number of a king
        is_number = word == "I" and word_before[:1].isupper() and word_before[-1] != "."
        return AbbreviationKind.LOWER if is_number else AbbreviationKind.EITHER
    # Capitals throughout are a headline or a telegram: LT. ANNA BELL. Two letters may be any acronym.
    is_headline = word.isupper() and (len(word) > 2 or word in _HEADLINE_FORMS)
    kind = _KINDS.get(word.capitalize() if is_headline else word)
    if kind is not None:
        return kind
    if not word.isascii() or not word[:1].isalpha():
        return None
    if "." in word.strip(".") or len(word) == 1:  # U.S., a.m., J.R.; an initial
        return AbbreviationKind.EITHER
    if not word[1:].islower() or len(word) > _MAX_VOWELLESS_LETTERS or not word.isalpha():
        return None
    if _VOWELS.isdisjoint(word) and word.lower() not in _INTERJECTIONS:
        return AbbreviationKind.EITHER
    return None
