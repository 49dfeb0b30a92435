"""Everything that can be wrong with a competition folder is said before any work, by name and
number.
"""

import pandas as pd
import pytest
from PIL import Image

from pokefast.data.competition import read_competition
from pokefast.errors import UserError


def edit(root, change):
    """Rewrite train_labels.csv by a function of its data frame."""
    file = root / "train_labels.csv"
    change(pd.read_csv(file)).to_csv(file, index=False)


def ids(root):
    return list(pd.read_csv(root / "train_labels.csv")["Id"])


def test_a_good_folder_is_read_in_order_of_id(task1):
    competition = read_competition(task1)
    assert list(competition.train.columns) == ["Id", "label", "path"]
    assert list(competition.train["Id"]) == sorted(ids(task1))
    assert len(competition.test) == len(list((task1 / "Test").glob("*.png")))
    assert competition.vocab == sorted(set(pd.read_csv(task1 / "train_labels.csv")["label"]))


def test_lower_case_folders_are_the_same(task1):
    expected = len(read_competition(task1).train)
    (task1 / "Train").rename(task1 / "train")
    (task1 / "Test").rename(task1 / "test")
    assert len(read_competition(task1).train) == expected


def spoil_columns(root):
    edit(root, lambda df: df.rename(columns={"label": "type"}))


def spoil_extra_column(root):
    edit(root, lambda df: df.assign(more=1))


def spoil_missing_file(root):
    (root / "Train" / f"{ids(root)[3]}.png").unlink()


def spoil_unlabelled(root):
    edit(root, lambda df: df.iloc[1:])


def spoil_duplicate(root):
    edit(root, lambda df: pd.concat([df, df.iloc[:1]]))


def spoil_empty_label(root):
    edit(root, lambda df: df.assign(label=["  ", *df["label"][1:]]))


def spoil_truncated(root):
    file = root / "Train" / f"{ids(root)[0]}.png"
    file.write_bytes(file.read_bytes()[:-200])


def spoil_no_image(root):
    (root / "Test" / "not-a-picture.png").write_text("hello")


def spoil_path(root):
    edit(root, lambda df: df.assign(Id=["../Test/" + df["Id"][0], *df["Id"][1:]]))


def spoil_twins(root):
    Image.new("RGB", (8, 8)).save(root / "Train" / f"{ids(root)[0]}.jpg")


def spoil_ragged(root):
    with open(root / "train_labels.csv", "a") as f:
        f.write("a,b,c,d\n")


def spoil_encoding(root):
    (root / "train_labels.csv").write_bytes(b"Id,label\n\xff\xfe,\xff\n")


def spoil_no_test(root):
    (root / "Test").rename(root / "Elsewhere")


@pytest.mark.parametrize(
    "spoil, says",
    [
        (spoil_columns, "expected 'Id,label'"),
        (spoil_extra_column, "'Id,label,more'"),
        (spoil_missing_file, "1 ids without an image"),
        (spoil_unlabelled, "1 training images without a label"),
        (spoil_duplicate, "1 ids that stand more than once"),
        (spoil_empty_label, "1 ids with an empty label"),
        (spoil_truncated, "1 training images that cannot be read"),
        (spoil_no_image, "not-a-picture (not a picture"),
        (spoil_path, "have a path in them: ../Test/"),
        (spoil_twins, "1 training images of the same id"),
        (spoil_ragged, "cannot be read as CSV"),
        (spoil_encoding, "cannot be read as CSV"),
        (spoil_no_test, "no folder Test/ or test/"),
    ],
)
def test_each_fault_is_named(task1, spoil, says):
    spoil(task1)
    with pytest.raises(UserError, match="(?s)" + "train_labels.csv|task1") as error:
        read_competition(task1)
    assert says in str(error.value)


def test_many_faults_are_listed_together_with_few_offenders_each(task1):
    for i in ids(task1)[:12]:
        (task1 / "Train" / f"{i}.png").unlink()
    spoil_no_image(task1)
    with pytest.raises(UserError) as error:
        read_competition(task1)
    text = str(error.value)
    assert "12 ids without an image" in text
    assert "1 test images that cannot be read" in text
    assert sum(i in text for i in ids(task1)) == 5
    assert "--skip-bad" in text


@pytest.mark.parametrize(
    "spoil", [spoil_missing_file, spoil_truncated, spoil_duplicate, spoil_path]
)
def test_skip_bad_goes_on_without_the_offenders_and_says_how_many(task1, capsys, spoil):
    before = len(read_competition(task1).train)
    spoil(task1)
    after = read_competition(task1, skip_bad=True)
    assert len(after.train) == before - 1
    assert "left out by --skip-bad" in capsys.readouterr().out


def test_a_bad_test_image_that_is_skipped_is_remembered(task1):
    spoil_no_image(task1)
    assert read_competition(task1, skip_bad=True).bad_test == ["not-a-picture"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        read_competition(tmp_path / "nowhere")
