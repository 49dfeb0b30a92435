"""Recipes and the command line: an option given explicitly beats the recipe's value."""

import difflib
import os
import sys
from types import SimpleNamespace
from typing import Annotated, get_args, get_origin, get_type_hints

from fastcore.script import anno_parser

from pokefast.errors import UserError

__all__ = ["resolve", "changed", "check", "choice", "leave_out", "run_cli", "similar"]

# lowest and highest value of an option, in any task that has it; None is no limit
LIMITS = {
    "epochs": (0, None),  # 0: the untrained model
    "bs": (2, None),  # BatchNorm needs two pictures
    "lr": (0, 100),
    "dropout": (0, 0.99),
    "layer1_size": (1, None),
    "layer2_size": (1, None),
    "size": (16, 2048),  # pixels
    "folds": (0, 100),
    "seed": (0, 2**32 - 1),
    "valid": (0, 1),
    "test": (0, 1),
}


def choice(*values):
    """The annotation of an option that takes one of `values`, for command line and `check`."""
    return Annotated[type(values[0]), {"choices": list(values)}]


def resolve(recipes, recipe="fast", **given):
    """The options of `recipe`, each replaced by the one of the same name in `given` where that is
    not None.

    `recipes` maps a recipe's name to its options. Returns a namespace, with what was given once
    more in its dict `given`; a namespace that is passed as `recipe` has been resolved before and
    is taken as it is. Raises UserError for a recipe, option or value that cannot be.
    """
    if isinstance(recipe, SimpleNamespace):
        recipe, options = recipe.recipe, {k: v for k, v in vars(recipe).items() if k != "recipe"}
    elif recipe in recipes:
        options = dict(recipes[recipe])
    else:
        raise UserError(f"--recipe {recipe}: choose {' or '.join(recipes)}")
    for name in given:
        if name not in options:
            raise UserError(f"no option '{name}'{similar(name, options)}")
    chosen = {k: v for k, v in given.items() if v is not None}
    options |= chosen | {"given": {**options.get("given", {}), **chosen}}
    for name, (low, high) in LIMITS.items():
        value = options.get(name, low)
        if not (low <= value and (high is None or value <= high)):
            limits = f"at least {low}" if high is None else f"from {low} to {high}"
            raise UserError(f"--{name.replace('_', '-')} {value}: it must be {limits}")
    return SimpleNamespace(recipe=recipe, **options)


def changed(options, **given):
    """A copy of the namespace `options` with some values replaced."""
    return SimpleNamespace(**{**vars(options), **given})


def leave_out(ingredients, names, given):
    """The options of main's arguments `given`, changed so that a recipe lacks some of its parts.

    `names` are separated by commas, keys of `ingredients`, which maps each to the options that
    leave it out. Raises UserError for an unknown one, and where `given` sets the same option.
    """
    found = {}
    for name in filter(None, (names or "").split(",")):
        if name not in ingredients:
            hint = similar(name, ingredients) or f": choose from {', '.join(ingredients)}"
            raise UserError(f"--without {name}: there is no such ingredient{hint}")
        found |= ingredients[name]
    both = [k for k in found if given.get(k) is not None]
    if both:
        raise UserError(f"--without {names} sets --{both[0].replace('_', '-')}: give one of them")
    return {**given, **found}


def similar(name, names):
    """'; did you mean ...?' with the names that are spelt like `name`, or nothing."""
    found = difflib.get_close_matches(name, names)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def check(func, options):
    """Raise UserError for a value outside the choices that `func` declares with Annotated; argparse
    does it for the command line alone.
    """
    values = vars(options)
    for name, hint in get_type_hints(func, include_extras=True).items():
        if get_origin(hint) is Annotated and values.get(name) is not None:
            choices = next((m["choices"] for m in get_args(hint)[1:] if "choices" in m), None)
            if choices and values[name] not in choices:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} {values[name]}: choose {', '.join(map(str, choices))}")


def run_cli(main):
    """Call `main` with the command line's options; returns the exit status.

    fastcore makes the parser from main's signature and comments; its `call_parse` would accept
    abbreviations, which turn one option into another when a new one is added. A UserError is
    shown without a traceback.
    """
    parser = anno_parser(main)
    parser.allow_abbrev = False
    args, unknown = parser.parse_known_args()
    if unknown:
        names = [s for action in parser._actions for s in action.option_strings]
        parser.error(f"unknown option {unknown[0]}{similar(unknown[0].split('=')[0], names)}")
    # what was not given stays at main's default: a missing flag is no "False" for the recipe
    values = {k: v for k, v in vars(args).items() if v != parser.get_default(k)}
    try:
        main(**values)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
