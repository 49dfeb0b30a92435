"""The networks, small enough to read.

A function with `@architecture` builds models that know its name and arguments, so that `build` can
make them again from JSON.
"""

import functools
import inspect
from importlib import import_module

from torch import nn

from pokefast.errors import UserError

__all__ = ["architecture", "build", "mlp", "cnn"]

BUILDERS = {}
# modules that are imported only for their own: timm takes seconds
ELSEWHERE = {"transfer": "pokefast.models.transfer"}


def architecture(function):
    """Let `build` know the function, and give its models an attribute `architecture`, a dict of
    name and arguments. These must be what JSON can hold.
    """
    BUILDERS[function.__name__] = function

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        model = function(*args, **kwargs)
        model.architecture = {"name": function.__name__, "arguments": dict(bound.arguments)}
        return model

    return wrapper


def build(name, arguments):
    """The model that the function `name` gives for a dict of arguments, with new weights.

    Raises UserError for a name or arguments that are not known.
    """
    if name in ELSEWHERE:
        import_module(ELSEWHERE[name])
    if name not in BUILDERS:
        raise UserError(f"unknown architecture {name!r}: choose {', '.join(sorted(BUILDERS))}")
    try:
        return BUILDERS[name](**arguments)
    except (TypeError, KeyError, ValueError) as e:
        given, reason = str(arguments)[:200], str(e).split("\n")[0]
        raise UserError(f"architecture {name} cannot be built with {given}: {reason}") from None


@architecture
def mlp(n_in, n_out, hidden=(256, 128), dropout=0.2):
    """Flattened images [n, ...] of `n_in` values to logits [n, n_out]; each hidden layer has
    BatchNorm, ReLU, dropout.

    fastai's `TabularModel` orders these layers otherwise and wants a table.
    """
    layers, width = [nn.Flatten()], n_in
    for size in hidden:
        layers += [nn.Linear(width, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, n_out))


@architecture
def cnn(n_in=4, n_out=9, stages=4, head="global-max", size=64, dropout=0.3):
    """Images [n, n_in, size, size] to logits [n, n_out]; `stages` halve the side and double the
    channels from 32 on.

    Each stage: convolution 3x3, BatchNorm, ReLU, max-pool 2. Head "dense": flatten, dense 256,
    ReLU, dropout, dense. Head "global-max": the maximum of each channel over the image, then dense,
    which does not care where in the image something is.
    """
    if stages not in range(1, 9):
        raise ValueError(f"{stages} stages: from 1 to 8")
    widths = [32 * 2**i for i in range(stages)]
    layers = []
    for before, after in zip([n_in, *widths], widths, strict=False):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    side = size // 2**stages
    heads = {
        "dense": lambda: [
            nn.Flatten(),
            nn.Linear(widths[-1] * side**2, 256),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(256, n_out),
        ],
        "global-max": lambda: [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[-1], n_out)],
    }
    return nn.Sequential(*layers, *heads[head]())
