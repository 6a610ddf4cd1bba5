"""Which class is the positive one: whose sensitivity, precision and F1 are headlines.

The alphabet doesn't know: of ``leukemia`` and ``normal`` it would take the healthy. So a class is
named by ``--positive``, or follows from names that say which class is healthy, or there is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from fastleuk.errors import ConfigError, did_you_mean


def _folded(text: str) -> str:
    """Fold case and drop accents."""
    undotted = text.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")
    apart = unicodedata.normalize("NFKD", undotted).casefold()
    bare = "".join(c for c in apart if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", bare)


_WORDS = """
    hem healthy health normal normals norm control controls ctrl ctl ctr negative negatives neg
    benign uninfected unaffected unparasitized unparasitised undiseased noncancer noncancerous
    nonmalignant nontumor nontumour nonleukemic nonleukaemic nondiseased noninfected donor donors
    wildtype wt diseasefree

    gesund gesunde gesunder gesundes kontrolle kontrollen negativ gutartig gutartige
    sain saine sains saines normale normales normaux temoin temoins benin benins benigne
    benignes negatif negatifs controle controles
    sano sana sanos sanas benigno benigna benignos benignas negativo negativa
    sani sane normali controllo controlli benigni saudavel saudaveis normais
    zdrowy zdrowe kontrola saglikli iyihuylu gezond goedaardig frisk
    норма нормальный нормальные здоровый здоровые контроль доброкачественный
"""
HEALTHY = frozenset(_folded(_WORDS).split())
"""Words of class names that mean healthy: English, German, French, Spanish, Italian, Portuguese,
Polish, Turkish, Dutch, Scandinavian and Russian, without accents. ``hem`` is C-NMC's."""

HEALTHY_STEMS = ("正常", "健康", "健常", "良性", "阴性", "陰性", "对照", "對照", "정상", "건강")
"""The same where words aren't set apart by spaces: what a name begins with."""

_NEGATIONS = "non not no without un nicht kein keine ohne pas sans sin senza sem"
NEGATIONS = frozenset(_NEGATIONS.split())
_GENERAL = "cancer|tumou?r|leuka?em|malign|infect|diseas|patholog|patient|parasit|case|blast"
_TYPES_OF_DISEASE = ("hodgkin", "smallcell", "smallcells")
"""``non-Hodgkin`` and ``non-small-cell`` are diseases themselves."""


def is_healthy(name: str, others: Sequence[str] = ()) -> bool:
    """Say whether a class's name means healthy, by its words.

    A negation turns the meaning of the rest (``not normal``); ``non-X`` is healthy where another
    class is X, or where the rest names a disease in general.

    Args:
        name: Of the class.
        others: The names of the other classes.

    >>> [is_healthy(n) for n in ("normal", "abnormal", "Healthy_Cells", "nonHodgkin")]
    [True, False, True, False]
    >>> is_healthy("non-AML", ["AML"]), is_healthy("non-AML", ["normal"])
    (True, False)
    """
    words = _words(name)
    whole = "".join(words)
    if whole in HEALTHY or whole in ("no", "false") or whole.startswith(HEALTHY_STEMS):
        return True
    if whole in ("triplenegative", "doublenegative"):
        return False
    negated = _negated(words, whole)
    if negated is None:
        return bool(HEALTHY & set(words))
    if negated.startswith(_TYPES_OF_DISEASE) or negated in HEALTHY:
        return False
    return negated in ("".join(_words(other)) for other in others) or bool(
        re.match(f"(?:{_GENERAL})", negated)
    )


def _words(name: str) -> list[str]:
    """Split at what is no letter or digit and at camelCase; fold case, drop accents.

    >>> _words("Témoin-nonTumor_2")
    ['temoin', 'non', 'tumor', '2']
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", _folded(spaced))


def _negated(words: list[str], whole: str) -> str | None:
    """Return what a negation at the beginning stands before, or None without one."""
    if len(words) > 1 and words[0] in NEGATIONS:
        return "".join(words[1:])
    glued = re.match(f"(?:non|not|no)(?={_GENERAL})", whole)
    return whole[glued.end() :] if glued and len(words) == 1 else None


def positive_class(class_names: Sequence[str], asked: str | None = None) -> str | None:
    """Return the positive class, or None where nothing tells.

    Args:
        class_names: All classes.
        asked: The one asked for by ``--positive``, in any case; empty or None: by the names.
            Of two classes one of which means healthy, it is the other; of more there is none.

    Raises:
        ConfigError: ``asked`` is no class.

    >>> positive_class(["leukemia", "normal"]), positive_class(["blast", "lymphocyte"])
    ('leukemia', None)
    """
    names = list(class_names)
    if asked:
        if asked in names:
            return asked
        folded = [name for name in names if name.casefold() == asked.casefold()]
        if len(folded) == 1:
            return folded[0]
        hint = did_you_mean(asked, names)
        raise ConfigError(
            f"--positive {asked!r} is no class; the classes are {', '.join(names)}.{hint}"
        )
    if len(names) != 2:
        return None
    healthy = [is_healthy(name, names[1 - n : 2 - n]) for n, name in enumerate(names)]
    return names[healthy.index(False)] if sum(healthy) == 1 else None


_MEANINGS = {"hem": "normal cells", "ALL": "acute lymphoblastic leukemia"}


def meanings(class_names: Sequence[str]) -> str:
    """Expand the class names of C-NMC; empty for other classes.

    >>> meanings(["hem", "ALL"]), meanings(["a", "ALL"])
    ('hem: normal cells; ALL: acute lymphoblastic leukemia', '')
    """
    if set(class_names) != set(_MEANINGS):
        return ""
    return "; ".join(f"{name}: {_MEANINGS[name]}" for name in class_names)


def no_positive(class_names: Sequence[str]) -> str:
    """Return why two classes have no positive one, and what to do."""
    first, second = class_names
    both = all(is_healthy(name, [other]) for name, other in ((first, second), (second, first)))
    names = f"{first!r} and {second!r} sound" if both else f"{first!r} nor {second!r} sounds"
    why = f"{'both' if both else 'neither'} {names}"
    return (
        f"No positive class: {why} healthy, so sensitivity, specificity and figures of a positive "
        f"class are not given. --positive {first} or --positive {second} tells which it is."
    )
