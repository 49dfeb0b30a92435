"""The one exception that means: the input is wrong, and here is what to do about it."""

__all__ = ["UserError"]


class UserError(Exception):
    """A wrong file, row or option. The message names it and says what to do; no traceback is shown
    for it.
    """
