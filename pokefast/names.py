"""Names that look alike: labels, ids and file names as a person compares them.

A composed and a decomposed é are one to the eye, and file systems and spreadsheets turn one into
the other. So names are compared by what can be seen, and written as they were given.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import PurePath

from pokefast.images import IMAGE_SUFFIXES

__all__ = ["composed", "listed", "look_alikes", "match_names", "one_spelling", "shown", "visible"]

SHOWN = 5  # names of each kind that a message lists


def composed(name):
    """`name` in Unicode's normal form C."""
    return unicodedata.normalize("NFC", name)


def visible(name):
    """`name` as it is seen: composed, without invisible characters, each run of spaces one."""
    if name.isascii() and name.isprintable():
        return " ".join(name.split())
    kept = "".join(
        c for c in composed(name) if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace()
    )
    return re.sub(r"\s+", " ", kept).strip()


def _stem(name):
    """What is seen of `name` without the suffix of an image."""
    name = visible(name)
    suffix = PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name


def _any_case(name):
    return _stem(name).casefold()


# how names may differ that mean the same, each with all of those before it
DIFFERENCES = {
    "in the code points of what looks the same": composed,
    "in invisible characters": visible,
    "by the suffix of an image": _stem,
    "in upper and lower case": _any_case,
}


def match_names(names, there):
    """Which name of `there` each of `names` means: (dict of those that mean one, list of lines that
    say which are not spelt the same).

    Equal names come first; of the rest, those that look alike in ever more liberal ways, as long
    as one of each side does.
    """
    there = dict.fromkeys(there)
    found, lines = {name: name for name in names if name in there}, []
    for difference, key in DIFFERENCES.items():
        sides = [defaultdict(list), defaultdict(list)]
        taken = set(found.values())
        for side, rest in zip(sides, (set(names) - set(found), set(there) - taken), strict=True):
            for name in sorted(rest):
                side[key(name)].append(name)
        pairs = {
            mine[0]: sides[1][seen][0]
            for seen, mine in sides[0].items()
            if len(mine) == 1 == len(sides[1].get(seen, ()))
        }
        if pairs:
            some = [f"{ascii(mine)} for {ascii(other)}" for mine, other in pairs.items()]
            lines.append(f"{len(pairs)} differ {difference}: {listed(some)}")
        found |= pairs
    return found, lines


def one_spelling(names):
    """The commonest spelling of each of `names` among those that look alike, as a dict."""
    counts = defaultdict(Counter)
    for name, n in Counter(names).items():
        counts[visible(name)][name] = n
    return {name: same.most_common(1)[0][0] for same in counts.values() for name in same}


def look_alikes(names):
    """Lists of different names that look alike, apart from upper and lower case."""
    same = defaultdict(set)
    for name in names:
        same[visible(name).casefold()].add(name)
    return [sorted(found) for found in same.values() if len(found) > 1]


def shown(name):
    """`name` for a message of one line; with escapes where it holds what cannot be seen."""
    return name if name.isprintable() and name == name.strip() else ascii(name)


def listed(words):
    """The first few of `words`, which are more where it ends in dots."""
    return ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
