"""A submission is complete, in order, checked, and scored by the ids it matches."""

import io
import os
from dataclasses import replace

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
    text = str(error.value)
    assert says in text and "sample_submission.csv" in text and "or remove the file" in text


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


def test_a_column_for_each_class_gets_its_probability_in_the_samples_order(tmp_path):
    sample = pd.DataFrame({"Water": 0.5, "img": ["b.png", "a.png", "c.png"], "Fire": 0.5})
    ids = ["a.png", "b.png", "c.png"]
    c = competition(tmp_path, sample)
    c = replace(c, test=TEST.assign(Id=ids), bad_test=["d.png"])
    c = replace(c, sample=pd.concat([sample, pd.DataFrame({"img": ["d.png"]})]))
    c = replace(c, train=pd.concat([TRAIN, TRAIN[:1], TRAIN[:1]]))  # three quarters are of Fire
    rows = [[0.25, 0.75], [1, 0], [0.5, 0.5]]
    table = make_submission(c, ids, ["Water", "Fire", "Fire"], "Fire", rows)
    assert table.to_csv(index=False) == (
        "Water,img,Fire\n0.0,b.png,1.0\n0.75,a.png,0.25\n0.5,c.png,0.5\n0.25,d.png,0.75\n"
    )
    for wrong in (float("nan"), 0.9):
        with pytest.raises(UserError, match="not numbers that sum to 1"):
            make_submission(c, ids, ["Water", "Fire", "Fire"], "Fire", [[wrong, 0]] * 3)


def test_a_sample_of_halves_asks_for_the_probability_of_class_1(tmp_path):
    c = competition(tmp_path, pd.DataFrame({"id": ["a", "b", "c"], "has_cactus": "0.5"}))
    c = replace(c, train=TRAIN.assign(label=["0", "1"]))
    rows = [[0.25, 0.75], [1, 0], [0.5, 0.5]]
    table = make_submission(c, ["a", "b", "c"], ["1", "0", "0"], probabilities=rows)
    assert table.to_csv(index=False) == "id,has_cactus\na,0.75\nb,0.0\nc,0.5\n"


def test_columns_that_are_not_all_classes_are_refused(tmp_path):
    sample = pd.DataFrame({"id": ["a", "b", "c"], "Fire": 0.5, "Grass": 0.5})
    with pytest.raises(UserError, match="3 columns, but not one for each class .Fire, Water."):
        check_sample(competition(tmp_path, sample))


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


PLAIN = SOLUTION.replace(",split", "").replace(",Test", "").replace(",Train", "")


@pytest.mark.parametrize(
    "rows, solution, says",
    [
        ("a,Fire\nb,Water\nx,Fire\n", SOLUTION, "1 of its 3 ids have no hidden label: x"),
        ("a,Fire\nb,Water\n", SOLUTION, "1 ids of the hidden test are missing in it: c"),
        ("x,Fire\n", PLAIN, "1 of its 1 ids have no hidden label: x"),
        ("a,Fire\na,Fire\n", PLAIN, "1 ids stand more than once: a"),
        ("a,Fire,1\n", PLAIN, "more cells than its header"),
        ("", PLAIN, "it has no rows"),
        ("a,Fire\n", PLAIN + "a,Fire\n", "1 ids of the hidden labels stand more than once: a"),
        ("a,Fire\n", SOLUTION.replace("Test", "Public"), "no row of split Test"),
        ("b,Water\nc,\n", PLAIN, "1 rows have a class that is not in it: "),
        ("b,Water\nc,fire\n", PLAIN, "1 rows have a class that is not in it: fire"),
    ],
)
def test_a_submission_that_does_not_fit_says_why_in_one_line(
    tmp_path, capsys, rows, solution, says
):
    (tmp_path / "solution.csv").write_text(solution)
    (tmp_path / "subs").mkdir()
    (tmp_path / "subs" / "a.csv").write_text("Id,Category\n" + rows)
    (tmp_path / "subs" / "b.csv").write_text("Id,Category\na,Fire\nb,Water\nc,Fire\n")
    score.main(solution=str(tmp_path / "solution.csv"), submissions=tmp_path / "subs")
    _, line, good = capsys.readouterr().out.splitlines()
    assert says in line and "a.csv" in line
    assert good.split()[1] == "b.csv"


@pytest.mark.parametrize(
    "suffix, accent", [("", "\u00e9"), (".png", "e\u0301"), ("\u200b", "\u00e9 ")]
)
def test_ids_and_classes_are_compared_as_they_are_seen(suffix, accent):
    solution = pd.DataFrame({"Id": ["a", "b"], "label": ["\u00e9", "Fire"]})
    submission = pd.DataFrame({"Id": ["a" + suffix, "b" + suffix], "Category": [accent, "Fire"]})
    assert score.misfit(submission, solution) is None
    assert score.score_submission(submission, solution) == 1


def test_of_many_solutions_the_closest_says_why(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(score, "DATA", tmp_path)
    (tmp_path / "solution").mkdir()
    (tmp_path / "solution" / "task1.csv").write_text(SOLUTION)
    (tmp_path / "solution" / "task3.csv").write_text("Id,label\nz,Fire\n")
    (tmp_path / "a.csv").write_text("Id,Category\na,Fire\nb,Water\n")
    score.main(submissions=tmp_path)
    line = capsys.readouterr().out.splitlines()[1]
    assert "task1.csv: 1 ids of the hidden test are missing in it: c" in line
    (tmp_path / "solution").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no solution/\*.csv below it.*SOLUTION=file"):
        score.main(submissions=tmp_path)


def test_hidden_labels_may_have_the_competitions_own_columns(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("picture,what is it\na,Fire\nb,Water\n")
    (tmp_path / "subs").mkdir()
    (tmp_path / "subs" / "x.csv").write_text("picture,what is it\nb,Water\na,Fire\n")
    score.main(solution=tmp_path / "labels.csv", submissions=tmp_path / "subs")
    said = capsys.readouterr().out
    assert "id column picture, label column what is it" in said and "1.0000  x.csv" in said


def test_score_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        (tmp_path / "a.csv").touch()
        score.main(solution=str(tmp_path / "none.csv"), submissions=tmp_path)
    for text, says in (("Id,x\na,b\n", "no column label"), ("Id,label\n", "no rows")):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(UserError, match=says):
            score.main(solution=str(tmp_path / "bad.csv"), submissions=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no submission"):
        score.main(submissions=empty)
