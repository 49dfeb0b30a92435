"""What the columns of a table mean: which one names images, and which one, or ones, their class."""

from collections import defaultdict
from itertools import combinations

import pandas as pd

from pokefast.errors import UserError
from pokefast.names import composed, listed, shown
from pokefast.options import similar

__all__ = ["ImageIndex", "find_id", "find_labels", "labels_of", "matching_column"]

LABEL_NAMES = {"label", "labels", "class", "classes", "classname", "classlabel", "category"}
LABEL_NAMES |= {"target", "y", "diagnosis", "species", "breed", "type", "level"}
ID_NAMES = {"id", "image", "imageid", "img", "filename", "file", "filepath", "filepaths", "path"}
ID_NAMES |= {"imagename", "idcode", "fname", "picture", "name", "uuid"}
FEW = 20  # numbers: more different ones are taken for an amount, as long as nobody says otherwise
MANY = 500  # different labels: more are not compared pair by pair
BITS = ({"0", "1"}, {"0.0", "1.0"}, {"False", "True"})
SAY = "--label COL says which column holds the class"


class ImageIndex:
    """Finds images, paths below a folder with "/", by a file's name with or without its suffix and
    with or without the end of its path. Case does not count.
    """

    def __init__(self, images):
        self.by_name, self.by_stem = defaultdict(list), defaultdict(list)
        for path in images:
            name = _key(path).rpartition("/")[2]
            self.by_name[name].append(path)
            self.by_stem[name.rpartition(".")[0]].append(path)

    def find(self, value):
        """The images that the text `value` names, mostly one or none."""
        key = _key(value.strip().replace("\\", "/")).removeprefix("./")
        name = key.rpartition("/")[2]
        if not name:
            return []
        found = self.by_name.get(name) or self.by_stem.get(name, [])
        return [p for p in found if _ends(_key(p), key)] if "/" in key else found

    def hits(self, values):
        """A dict of those of `values` that name images, with these."""
        return {value: found for value in dict.fromkeys(values) if (found := self.find(value))}


def find_id(file, table, index, given=None):
    """(column, dict of its values and the images they name) of the data frame `table`, the dict
    empty where a column is called like one of ids and names no image; (None, {}) for neither.

    `given` is the column by the user's word. Raises UserError where that is not there, or where two
    columns name different images.
    """
    if given is not None:
        _check_column(file, table, given, "--id")
        return given, index.hits(table[given])
    found = {}
    for column in table.columns:
        if index.hits(table[column].iloc[:1000]):
            hits = index.hits(table[column])
            if 2 * table[column].isin(hits).sum() >= len(table):
                found[column] = hits
    if not found:
        return next((c for c in table.columns if _bare(c) in ID_NAMES), None), {}
    # an index 0, 1, ... may name images 0.png, 1.png by chance: what has a suffix was meant
    rank = {c: (len(hits), any(v in index.by_name for v in hits)) for c, hits in found.items()}
    best = [c for c in found if rank[c] == max(rank.values())]
    if any(list(found[c].values()) != list(found[best[0]].values()) for c in best):
        raise UserError(
            f"{file}: the columns {' and '.join(map(shown, best))} name different images; "
            "--id COL says which one counts"
        )
    return best[0], found[best[0]]


def find_labels(file, table, id_column, given=None, asked=(), folders=None):
    """The columns of the data frame `table` that hold the class: one, several of zeros and ones, or
    none where nothing looks like it.

    `given` is what the user says (columns with commas between them), `asked` the columns that the
    sample submission has besides its ids, `folders` a series of the folders that the rows' images
    lie in, where they may be classes. Raises UserError for two candidates, for several classes an
    image and for amounts.
    """
    others = [c for c in table.columns if c != id_column and not c.startswith("Unnamed:")]
    if given is not None:
        columns = [given] if given in table.columns else [c.strip() for c in given.split(",")]
        for column in columns:
            _check_column(file, table, column, "--label")
    else:
        columns = _likely(file, table, others, asked, folders)
    if len(columns) == 1:
        _check_classes(file, columns[0], table[columns[0]], given is not None)
    elif columns:
        _check_one_hot(file, table, id_column, columns)
    return tuple(columns)


def labels_of(table, columns):
    """The class of each row: of one column, or the name of that with the one in it."""
    if len(columns) == 1:
        return table[columns[0]]
    return _ones(table, columns).idxmax(axis=1)


def matching_column(table, index):
    """The column of the data frame `table` that names most images of an `ImageIndex`; the first
    where none names any.
    """
    return max(table.columns, key=lambda c: len(index.hits(table[c])))


def _likely(file, table, others, asked, folders):
    """The columns that `find_labels` finds, from what says most to what says least."""
    shared = [c for c in asked if c in others]
    if len(shared) == 1 or (shared and len(shared) == len(asked)):
        return shared
    if len(others) == 1:
        return others
    if len(asked) > 1:  # a column a class
        same = [c for c in others if set(table[c]) <= set(asked)]
        if len(same) == 1:
            return same
    if folders is not None:
        same = [c for c in others if (table[c] == folders).all()]
        if same:
            return same[:1]
    if named := [c for c in others if _bare(c) in LABEL_NAMES]:
        return [_only(file, table, named)]
    bits = [c for c in others if any(set(table[c]) <= both for both in BITS)]
    if len(bits) > 1 and (len(bits) == len(others) or (_ones(table, bits).sum(axis=1) == 1).all()):
        return bits
    if len(bits) > 2:
        rest = [c for c in others if c not in bits]
        raise UserError(
            f"{file}: the class may be in the columns {listed(bits)} of 0 and 1 (multi-label, as "
            f"some rows have not exactly one 1) or in {' or '.join(map(shown, rest))}; {SAY}"
        )
    repeated = [c for c in others if 1 < table[c].nunique() <= len(table) / 2]
    text = [c for c in repeated if not _numbers(table[c]).notna().all()]
    few = [c for c in repeated if table[c].nunique() <= FEW and _whole(table[c])]
    found = text or few
    return [_only(file, table, found)] if found else []


def _only(file, table, columns):
    """The one of `columns`; those that give the same classes by other names count as one."""
    text = [c for c in columns if not _numbers(table[c]).notna().all()]
    first = (text or columns)[0]
    differ = [c for c in columns if not _same_classes(table[first], table[c])]
    if differ:
        raise UserError(
            f"{file}: the class may be in column {' or '.join(map(shown, [first, *differ]))}; {SAY}"
        )
    return first


def _same_classes(a, b):
    pairs = pd.DataFrame({"a": a, "b": b}).drop_duplicates()
    return len(pairs) == a.nunique() == b.nunique()


def _check_column(file, table, column, option):
    if column not in table.columns:
        names = list(table.columns)
        raise UserError(
            f"{option} {column}: {file} has the columns {listed(names)}{similar(column, names)}"
        )


def _check_classes(file, column, values, said):
    """Raise UserError where a column holds amounts, or several classes a row; `said` is whether the
    user has named it.
    """
    values = values[values.str.strip() != ""]
    numbers, n = _numbers(values), values.nunique()
    many = n > FEW or n > max(len(values) / 2, 5 if _whole(values) else 2)
    amounts = not _whole(values) or not (said or _bare(column) in LABEL_NAMES)
    if many and amounts and numbers.notna().all():
        raise UserError(
            f"{file}: column {shown(column)} holds {n} different numbers, as "
            f"{listed(list(values.unique()))}: a number to regress on is no class"
            + ("" if not _whole(values) else f"; --label {shown(column)} takes each for one")
        )
    for separator in "|;, ":
        if separator in ", " and said:  # a name of several words
            continue
        if example := _combined(values.unique(), separator):
            raise UserError(
                f"{file}: column {shown(column)} is multi-label, as {shown(example)!r} says: "
                "several classes an image cannot be trained here, one is needed"
            )


def _combined(values, separator):
    """One of the labels `values` that puts others together, or None."""
    parts = {v: frozenset(p for p in v.split(separator) if p) for v in values}
    several = [v for v in parts if len(parts[v]) > 1]
    alone = {v for v in parts if len(parts[v]) == 1}
    if of_others := [v for v in several if parts[v] <= alone]:
        return of_others[0]
    words = frozenset().union(*(parts[v] for v in several))
    if separator != " " and len(words) < 1.5 * len(several):
        return several[0]
    if len(several) > MANY:
        return several[0] if 4 * len(words) < len(several) else None
    nested = [b for a, b in combinations(sorted(several, key=len), 2) if parts[a] < parts[b]]
    # "red apple" and "dark red apple" may both be classes; where most are so, they are tags
    enough = len(several) / 2 if separator == " " else 1
    return nested[0] if nested and len(nested) >= enough else None


def _check_one_hot(file, table, id_column, columns):
    wrong = [c for c in columns if not any(set(table[c]) <= both for both in BITS)]
    if wrong:
        raise UserError(
            f"{file}: column {shown(wrong[0])} holds more than 0 and 1, as "
            f"{listed(sorted(set(table[wrong[0]]))[:3])}; {SAY}"
        )
    ones = _ones(table, columns).sum(axis=1)
    if (ones != 1).any():
        first = (ones != 1).idxmax()
        several = "multi-label: " if (ones > 1).any() else ""
        raise UserError(
            f"{file}: {several}{(ones != 1).sum()} rows have not exactly one 1 in the columns "
            f"{listed(columns)}, the first is {shown(table[id_column][first])} with {ones[first]}; "
            "one class an image is needed"
        )


def _ones(table, columns):
    """Where a one stands in the columns, as a data frame of bools."""
    return table[list(columns)].isin(["1", "1.0", "True"])


def _numbers(values):
    return pd.to_numeric(values, errors="coerce")


def _whole(values):
    numbers = _numbers(values)
    return bool(numbers.notna().all() and (numbers % 1 == 0).all())


def _bare(name):
    return "".join(c for c in name.casefold() if c.isalnum())


def _key(name):
    return name.casefold() if name.isascii() else composed(name).casefold()


def _ends(path, tail):
    """Whether `path`, with or without its suffix, ends with the whole names in `tail`."""
    bare = path.rpartition(".")[0]
    return any(f"/{p}".endswith(f"/{tail.lstrip('/')}") for p in (path, bare))
