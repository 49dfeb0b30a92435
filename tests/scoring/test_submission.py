"""A submission is complete, in order, checked, and scored by the ids it matches."""

import io
import os

import pandas as pd
import pytest

from pokefast.data.competition import Competition
from pokefast.errors import UserError
from pokefast.files import atomic_path
from pokefast.scoring import score
from pokefast.scoring.submission import check_sample, make_submission, write_submission

TRAIN = pd.DataFrame({"Id": ["t1", "t2"], "label": ["Fire", "Water"], "path": ["", ""]})
TEST = pd.DataFrame({"Id": ["a", "b", "c"], "path": ["", "", ""]})


def competition(tmp_path, sample=None, bad_test=()):
    return Competition(tmp_path, TRAIN, TEST, sample, list(bad_test))


def test_rows_are_sorted_and_complete(tmp_path):
    table = make_submission(competition(tmp_path), ["c", "a", "b"], ["Fire", "Water", "Fire"])
    assert table.to_csv(index=False) == "Id,Category\na,Water\nb,Fire\nc,Fire\n"


def test_the_sample_gives_order_and_columns(tmp_path):
    sample = pd.DataFrame({"id": ["b", "c", "a"], "type": ["", "", ""]})
    table = make_submission(
        competition(tmp_path, sample), ["a", "b", "c"], ["Water", "Fire", "Fire"]
    )
    assert table.to_csv(index=False) == "id,type\nb,Fire\nc,Fire\na,Water\n"


@pytest.mark.parametrize(
    "ids, columns, says",
    [
        (["a", "b"], 2, "1 ids of the test folder are missing, the first: c"),
        (["a", "b", "c", "d"], 2, "1 ids are not in the test folder, the first: d"),
        (["a", "b", "c", "c"], 2, "1 ids stand more than once: c"),
        (["a", "b", "c"], 3, "it has 3 columns"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(tmp_path, ids, columns, says):
    sample = pd.DataFrame({f"column{i}": ids for i in range(columns)})
    with pytest.raises(UserError) as error:
        check_sample(competition(tmp_path, sample))
    assert says in str(error.value) and "sample_submission.csv" in str(error.value)


@pytest.mark.parametrize(
    "ids, labels, says",
    [
        (["a", "b"], ["Fire"] * 2, "missing, the first: c"),
        (["a", "b", "c", "d"], ["Fire"] * 4, "not in the test folder, the first: d"),
        (["a", "b", "c", "c"], ["Fire"] * 4, "more than once"),
        (["a", "b", "c"], ["Fire", "Fire", "Ice"], "classes that training does not have: Ice"),
    ],
)
def test_wrong_predictions_are_never_written(tmp_path, ids, labels, says):
    with pytest.raises(UserError, match=says):
        make_submission(competition(tmp_path), ids, labels)


def test_unreadable_test_images_get_the_fill(tmp_path):
    c = competition(tmp_path, bad_test=["z"])
    table = make_submission(c, ["a", "b", "c"], ["Fire"] * 3, fill="Water")
    assert list(table["Category"]) == ["Fire", "Fire", "Fire", "Water"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "s.csv"
    file.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(file) as temp:
        temp.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["s.csv"]
    write_submission(file, pd.DataFrame({"Id": ["a"], "Category": ["Fire"]}))
    assert file.read_text() == "Id,Category\na,Fire\n"
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


SOLUTION = "Id,label,split\na,Fire,Test\nb,Water,Test\nc,Fire,Test\nt1,Grass,Train\n"


def test_score_prints_every_submission(tmp_path, capsys):
    (tmp_path / "solution.csv").write_text(SOLUTION)
    subs = tmp_path / "submissions"
    subs.mkdir()
    (subs / "good.csv").write_text("Id,Category\na,Fire\nb,Water\nc,Fire\n")
    (subs / "other.csv").write_text("Id,Category\nx,Fire\n")
    score.main(solution=str(tmp_path / "solution.csv"), submissions=subs)
    lines = capsys.readouterr().out.splitlines()
    # two of three classes right, the third is never in the test part
    assert lines[1].split()[:2] == ["0.6667", "good.csv"]
    assert lines[2].split()[:2] == ["-", "other.csv"]


def test_a_solution_without_split_counts_where_the_submission_has_rows():
    solution = pd.read_csv(io.StringIO(SOLUTION)).drop(columns="split")
    submission = pd.DataFrame({"Id": ["c", "a"], "Category": ["Fire", "Water"]})
    truth, predicted, labels = score.match_submission(submission, solution)
    assert dict(truth) == {"a": "Fire", "c": "Fire"}
    assert dict(predicted) == {"a": "Water", "c": "Fire"}
    assert labels == ["Fire", "Grass", "Water"]
    assert score.score_submission(submission, solution) == pytest.approx(2 / 9)
    # with the column, only a whole test fits
    assert score.match_submission(submission, pd.read_csv(io.StringIO(SOLUTION))) is None


@pytest.mark.parametrize(
    "ids, columns", [(["a", "x"], 2), (["a", "a"], 2), ([], 2), (["a", "b"], 3)]
)
def test_a_submission_of_other_ids_does_not_fit(ids, columns):
    solution = pd.read_csv(io.StringIO(SOLUTION)).drop(columns="split")
    submission = pd.DataFrame({f"column{i}": ids for i in range(columns)}, dtype=str)
    assert score.match_submission(submission, solution) is None


def test_score_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        score.main(solution=str(tmp_path / "none.csv"), submissions=tmp_path)
    (tmp_path / "bad.csv").write_text("Id,x\na,b\n")
    with pytest.raises(UserError, match="label"):
        score.main(solution=str(tmp_path / "bad.csv"), submissions=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no submission"):
        score.main(submissions=empty)
