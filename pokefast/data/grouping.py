"""Which training images stay on one side of a split."""

from pokefast.crops.copies import kept_copies
from pokefast.crops.groups import add_groups, read_groups
from pokefast.errors import UserError

__all__ = ["split_groups"]


def split_groups(competition, o, find=add_groups):
    """The training images of `competition` with a column `group` where some of them stay together:
    those of a group in the file `o.groups` (Id,group) or in the column `o.group` of the labels'
    table; otherwise, by `o.split`, copies ("auto"), near duplicates ("group") or none ("image").

    `find` is `add_groups`, which adds the column `alike` with `o.average`. Raises UserError where a
    file or column does not fit the images.
    """
    train, groups = competition.train, None
    if o.groups is not None:
        groups = read_groups(o.groups, train["Id"])
    elif o.group is not None:
        layout = competition.layout
        if layout.table is None:
            raise UserError(f"--group {o.group}: there is no table of labels; --groups FILE is one")
        table = layout.root / layout.table
        groups = read_groups(table, train["Id"], layout.id, o.group)
    elif o.split == "image":
        return train
    elif o.split == "auto":
        groups = kept_copies(train["path"])
        if not o.average and len(set(groups)) == len(train):
            return train
    return find(train, groups, average=o.average)
