"""Hidden-test macro-F1 of every submission whose ids are known: `python -m pokefast.scoring.score
[--solution FILE]`.
"""

from pathlib import Path

from pokefast.errors import UserError
from pokefast.files import DATA, SUBMISSIONS, read_csv
from pokefast.options import run_cli
from pokefast.scoring.metrics import macro_f1

__all__ = ["match_submission", "score_submission", "main"]


def match_submission(submission, solution):
    """(true classes, predicted classes, all classes) of the hidden test, for `metrics`.

    `submission` is a data frame of two columns, id and class; `solution` has Id, label and, where
    it has more than the hidden test in it, split: its rows of split "Test" count. Without that
    column those count that the submission has. None where the ids differ.
    """
    if submission.shape[1] != 2 or submission.empty:
        return None
    predicted = submission.set_index(submission.columns[0]).iloc[:, 0]
    truth = solution.set_index("Id")["label"]
    if "split" in solution:
        truth = truth[(solution["split"].str.lower() == "test").to_numpy()]
    else:
        truth = truth[truth.index.isin(predicted.index)]
    unique = predicted.index.is_unique and truth.index.is_unique
    if not unique or set(predicted.index) != set(truth.index):
        return None
    # the classes of the whole solution: one that the test part lacks counts all the same
    return truth, predicted[truth.index], sorted(solution["label"].unique())


def score_submission(submission, solution):
    """Macro-F1 of a submission, both as for `match_submission`; None where the ids differ."""
    matched = match_submission(submission, solution)
    return None if matched is None else macro_f1(*matched)


def main(
    solution: Path = None,  # hidden labels (Id,label[,split]); all of data/**/solution/ otherwise
    submissions: Path = SUBMISSIONS,  # folder of submission files
):
    """Print the hidden-test macro-F1 of every file in submissions/ whose ids a solution holds."""
    files = [Path(solution)] if solution else sorted(DATA.glob("**/solution/*.csv"))
    solutions = {file: read_csv(file) for file in files}
    for file, table in solutions.items():
        missing = {"Id", "label"} - set(table.columns)
        if missing:
            raise UserError(f"{file}: no column {', '.join(sorted(missing))}; it needs Id, label")
    found = sorted(Path(submissions).glob("*.csv"))
    if not found:
        raise UserError(f"{submissions}: no submission in it; make task1 writes one")
    print(f"{'macro-F1':>8}  submission  (hidden labels)")
    for file in found:
        table = read_csv(file)
        scored = ((score_submission(table, truth), name) for name, truth in solutions.items())
        # task 1 and task 2 share one solution: the first that fits is enough
        value, name = next(((v, n) for v, n in scored if v is not None), (None, "no solution fits"))
        print(f"{'-' if value is None else f'{value:.4f}':>8}  {file.name}  ({name})")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
