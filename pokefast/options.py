"""Options as frozen dataclasses, whose field comments are the command line's help, and that line.

A task's options are a dataclass below `Options`; its recipes are functions that return one.
"""

import argparse
import difflib
import inspect
import os
import re
import sys
import types
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from fastcore.script import anno_parser

from pokefast.cores import limit_threads
from pokefast.errors import UserError

__all__ = [
    "Between",
    "Options",
    "add_options",
    "changes",
    "choice",
    "field_help",
    "flag",
    "parse",
    "plain",
    "run_cli",
    "similar",
    "to_exit_status",
]


class Between(NamedTuple):
    """The lowest and the highest value of a number, for `Annotated`; None is no limit."""

    low: float
    high: float | None = None

    def __str__(self):
        return f"at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"


ALSO = {float: (int,), Path: (str,)}  # what a Python call may give for a field of this type
Fraction = Annotated[float, Between(0, 1)]
Positive = Annotated[float, Between(0)]
Count = Annotated[int, Between(0)]
Folds = Annotated[int, Between(0, 100)]


@dataclass(frozen=True)
class Options:
    """What the options of every task have; nothing is switched on that a recipe does not ask for.

    Raises UserError for a value outside the choices or limits of its field.
    """

    recipe: str = "fast"  # whose hyper-parameters
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0  # of split, weights and batches
    valid: Fraction = 0.15  # fraction of the images for validation
    test: Fraction = 0.15  # fraction of the images for the local test
    metric: str = "f1_macro"  # or accuracy, log_loss, auc, kappa, file.py:function of your own
    folds: Folds = 0  # models that take turns and are averaged; 0: a single split
    split: Literal["auto", "group", "image"] = "auto"  # together: copies, one art's images, nothing
    groups: Path | None = None  # CSV (Id,group) of training images that stay together
    group: str | None = None  # column of the labels' table that says which stay together
    refit: bool = False  # submit a model that was trained once more, on everything
    epochs: Count = 10  # passes over the training part, at most
    bs: Annotated[int, Between(2)] = 64  # images a batch; BatchNorm needs two
    lr: Annotated[float, Between(0, 100)] = 1e-3  # (highest) learning rate
    optimizer: Literal["adam", "adamw"] = "adam"  # torch's
    wd: Positive = 0.0  # weight decay
    schedule: Literal["constant", "one-cycle", "step", "plateau"] = "constant"  # of the rate
    pct_start: Fraction = 0.25  # of one-cycle: fraction of the fit that the rate rises
    div: Annotated[float, Between(1)] = 10  # of one-cycle: the first rate is the highest by this
    step_size: Annotated[int, Between(1)] = 5  # of steps: epochs between them
    gamma: Fraction = 0.1  # of steps: factor of the rate at each
    label_smoothing: Fraction = 0.0  # of cross-entropy
    flip: bool = False  # mirror half of the training images
    shift_pixels: Count = 0  # move training images by up to so many whole pixels
    rotate: Annotated[float, Between(0, 180)] = 0  # turn training images by up to so many degrees
    shift: Fraction = 0.0  # move training images by up to this fraction of their side
    scale: Fraction = 0.0  # make training images larger or smaller by up to this fraction
    brightness: Fraction = 0.0  # change it by a factor of up to 1 - or + this
    contrast: Fraction = 0.0  # the same
    saturation: Fraction = 0.0  # the same
    tta: bool = False  # average predictions over the mirror image
    average: bool = False  # and over images that surely show the same art, for the submission
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # of the forward pass
    cuda_graph: bool = False  # replay the training pass on a GPU: for small networks, experimental
    labels: str | None = None  # table in the data's folder; or folders, inner-folders, names
    id: str | None = None  # column of that table that names the images
    label: str | None = None  # column that holds the class; several with commas: of 0 and 1
    train: Path | None = None  # folder of training images, in the data's folder
    valid_folder: Path | None = None  # folder to validate on (or --valid DIR); otherwise not used
    test_folder: Path | None = None  # folder of the images to predict (or --test DIR)
    sample: Path | None = None  # sample submission, whose columns, ids and order are taken
    skip_bad: bool = False  # go on without bad rows and images
    cache: bool = True  # keep decoded images for the next run, in the user's cache folder
    wandb: Literal["off", "offline", "online"] = "off"  # log to Weights & Biases

    # Whether phase one gives every image's score without its group (a field where a task has that).
    leave_one_out = False

    def __post_init__(self):
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            _check(name, getattr(self, name), hint)
        given = [f"--groups {self.groups}"] if self.groups is not None else []
        given += [f"--group {self.group}"] if self.group is not None else []
        given += ["--split image"] if self.split == "image" else []
        if len(given) > 1:
            raise UserError(f"{' '.join(given)}: they contradict each other; leave one out")
        if self.folds == 1:
            raise UserError("--folds 1: at least 2 take turns; 0 is a single split")
        if self.folds and getattr(self, "early_stop", False):  # not every task has it
            raise UserError(
                f"--folds {self.folds} needs --no-early-stop: it would choose by the score"
            )
        if self.valid_folder and self.folds:
            raise UserError(
                f"--valid {self.valid_folder} needs --folds 0: folds take turns to validate"
            )

    def resolved(self):
        """The options with what "auto" stands for on this machine, as far as that can be known."""
        # by image, twins are on both sides: their average would be scored by what it has seen
        return replace(self, average=self.average and self.split != "image")

    def for_prediction(self):
        """The options by which images are loaded that are predicted."""
        return self

    def by_image(self):
        """The options for images whose near duplicates are too few groups to be kept together: a
        split by image, unless groups were given.
        """
        found = self.split == "group" and self.groups is None and self.group is None
        return replace(self, split="image", average=False) if found else self

    def for_refit(self):
        """The options for a fit on everything, without a validation part to stop by."""
        return self

    def rates(self):
        """What `fit` takes for the learning rate: one number, a slice or one a layer group."""
        return self.lr


def changes(options, recipe):
    """A dict of the fields in which `options` differs from `recipe`, another of its class."""
    theirs = asdict(recipe)
    return {k: v for k, v in asdict(options).items() if v != theirs[k]}


def plain(options):
    """The options as a dict of what JSON can hold."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}


def flag(name, value=True):
    """How the field `name` is written on the command line, `--no-...` for a `value` of False."""
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def field_help(cls):
    """The comment behind each field of a dataclass, those of its bases included, by name.

    fastcore's `docments` does it too, but not for a module that is run by `python -m`.
    """
    found = {}
    for base in reversed(cls.__mro__[:-1]):
        found |= dict(re.findall(r"^    (\w+): .+  # (.+)$", inspect.getsource(base), re.M))
    return {f.name: found.get(f.name, "") for f in fields(cls)}


def add_options(parser, cls, recipes):
    """Give `parser` a flag for each field of the dataclass `cls`; one that is not given is left out
    of the result. `recipes` maps names to instances, whose values the help shows.
    """
    help_texts, hints = field_help(cls), get_type_hints(cls, include_extras=True)
    for name in [f.name for f in fields(cls) if f.name != "recipe"]:
        kind, choices, _ = _parts(hints[name])
        values = {recipe: getattr(o, name) for recipe, o in recipes.items()}
        shown = ", ".join(f"{k} {v}" for k, v in values.items())
        if len(set(values.values())) == 1:
            shown = str(next(iter(values.values())))
        text = f"{help_texts[name]} ({shown})".replace("%", "%%")
        if kind is bool:
            how = dict(action=argparse.BooleanOptionalAction)
        else:
            how = dict(
                type=kind, choices=choices, metavar=None if choices else kind.__name__.lower()
            )
        parser.add_argument(flag(name), default=argparse.SUPPRESS, help=text, **how)


def parse(parser, argv=None):
    """The namespace of a command line; an unknown option ends the program with the likely one.

    Abbreviations are refused: they turn one option into another when a new one is added.
    """
    parser.allow_abbrev = False
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        names = [s for action in parser._actions for s in action.option_strings]
        parser.error(f"unknown option {unknown[0]}{similar(unknown[0].split('=')[0], names)}")
    return args


def choice(*values):
    """The annotation of an argument of a command's `main` that takes one of `values`."""
    return Annotated[type(values[0]), {"choices": list(values)}]


def run_cli(main, argv=None):
    """Call the function `main` with the command line's options; returns the exit status.

    fastcore makes the parser from main's signature and comments; its `call_parse` would accept
    abbreviations.
    """
    args = vars(parse(anno_parser(main), argv))  # and --pdb and --xtra, which fastcore adds
    try:
        return to_exit_status(main, **{k: args[k] for k in inspect.signature(main).parameters})
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def to_exit_status(function, *args, **kwargs):
    """Call `function` for a command line: 0, or 2 for what the user can mend, which is shown in one
    line: a UserError, or a file or folder that the system refuses.
    """
    limit_threads()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where they are closed
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for what a terminal cannot show
    try:
        function(*args, **kwargs)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        print(f"error: {e.filename or 'a file'}: {e.strerror or e}", file=sys.stderr)
        return 2
    return 0


def similar(name, names):
    """'; did you mean ...?' with the names that are spelt like `name`, or nothing."""
    found = difflib.get_close_matches(name, names)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _parts(hint):
    """(type, choices or None, limits or None) of a field's annotation."""
    limits = None
    if get_origin(hint) is Annotated:
        hint, limits = get_args(hint)[:2]
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0]), get_args(hint), None
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    return hint, None, limits


def _check(name, value, hint):
    kind, choices, limits = _parts(hint)
    if value is None and type(None) in get_args(hint):
        return
    if choices and value not in choices:
        raise UserError(f"{flag(name)} {value}: choose {', '.join(map(str, choices))}")
    if not isinstance(value, (kind, *ALSO.get(kind, ()))):
        raise UserError(f"{flag(name)} {value!r}: it must be of type {kind.__name__}")
    if limits and not (limits.low <= value and (limits.high is None or value <= limits.high)):
        raise UserError(f"{flag(name)} {value}: it must be {limits}")
