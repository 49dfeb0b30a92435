"""Everything that can be wrong with a competition folder is said before any work, by name and
number.
"""

import csv
import os
import shutil

import pandas as pd
import pytest
from PIL import Image

from pokefast.data.competition import competition_of_run, read_competition
from pokefast.errors import UserError
from pokefast.files import write_json
from pokefast.runs import FORMAT


def edit(root, change):
    """Rewrite train_labels.csv by a function of its data frame."""
    file = root / "train_labels.csv"
    change(pd.read_csv(file)).to_csv(file, index=False, quoting=csv.QUOTE_NONNUMERIC)


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
    (root / "sample_submission.csv").write_text("Id,Category\na,Bug\n")
    (root / "Test").rename(root / "Elsewhere")


@pytest.mark.parametrize(
    "spoil, says",
    [
        (spoil_missing_file, "1 ids without an image"),
        (spoil_unlabelled, "1 training images without a label"),
        (spoil_duplicate, "1 ids that stand more than once"),
        (spoil_empty_label, "1 ids with an empty label"),
        (spoil_truncated, "1 training images that cannot be read"),
        (spoil_no_image, "not-a-picture (not a picture"),
        (spoil_path, "lead out of the folder: ../Test/"),
        (spoil_twins, "1 training images of the same id"),
        (spoil_ragged, "cannot be read as CSV"),
        (spoil_encoding, "cannot be read as CSV"),
        (spoil_no_test, "asks for test images and there are none"),
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


COMPOSED, DECOMPOSED = "Psych\u00e9", "Psyche\u0301"


def rename(root, folder, old, new):
    (root / folder / f"{old}.png").rename(root / folder / f"{new}.png")


def test_labels_that_look_the_same_are_one_class_as_most_write_it(task1, capsys):
    def change(df):
        spelling = [DECOMPOSED, DECOMPOSED, DECOMPOSED + "\u200b", COMPOSED, "\u00a0" + COMPOSED]
        return df.assign(label=[*spelling, *df["label"][5:]])

    before = read_competition(task1).vocab
    edit(task1, change)
    competition = read_competition(task1)
    assert competition.vocab == sorted([*before, DECOMPOSED])
    assert (competition.train["label"] == DECOMPOSED).sum() == 5
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "train_labels.csv: labels that look the same" in said[0]
    assert ascii(COMPOSED) in said[0] and "\\u200b" in said[0]


def test_labels_of_other_case_are_other_classes_and_that_is_said(task1, capsys):
    label = read_competition(task1).vocab[0]
    edit(task1, lambda df: df.assign(label=[label, label.upper(), *df["label"][2:]]))
    assert label.upper() in read_competition(task1).vocab
    assert f"{label.upper()!r} and {label!r}" in capsys.readouterr().out


def test_a_label_that_cannot_be_seen_is_empty(task1):
    edit(task1, lambda df: df.assign(label=["\u200b", *df["label"][1:]]))
    with pytest.raises(UserError, match="1 ids with an empty label"):
        read_competition(task1)


@pytest.mark.parametrize(
    "id, file, says",
    [
        (COMPOSED, DECOMPOSED, "code points"),
        (DECOMPOSED, COMPOSED, "code points"),
        ("7\u200b", "7", "invisible"),
        ("7 ", "7", "invisible"),
        ("7", "\u00a07", "invisible"),
        ("7.png", "7", "suffix of an image"),
        ("AB", "ab", "upper and lower case"),
    ],
)
def test_ids_are_compared_with_file_names_as_people_do(task1, capsys, id, file, says):
    """They are kept as the table has them, those of the test as the sample has them."""
    test = read_competition(task1).test["Id"]
    rename(task1, "Train", ids(task1)[0], file)
    edit(task1, lambda df: df.assign(Id=[id, *df["Id"][1:]]))
    rename(task1, "Test", test[0], file)
    sample = pd.DataFrame({"Id": [id, *test[1:]], "Category": ""})
    sample.to_csv(task1 / "sample_submission.csv", index=False)
    competition = read_competition(task1)
    paths = competition.train.set_index("Id")["path"]
    assert paths[id].stem == file
    assert set(competition.test["Id"]) == set(sample["Id"])
    table, samples = capsys.readouterr().out.splitlines()
    assert "train_labels.csv" in table and "sample_submission.csv" in samples
    assert all(says in line and ascii(id) in line for line in (table, samples))


def test_ids_with_suffixes_all_are_understood(task1, capsys):
    edit(task1, lambda df: df.assign(Id=df["Id"] + ".png"))
    competition = read_competition(task1)
    assert len(competition.train) == len(ids(task1))
    assert capsys.readouterr().out == ""


def test_ids_that_look_alike_are_named(task1, capsys):
    first, second = ids(task1)[:2]
    rename(task1, "Train", second, first + "\u200b")
    edit(task1, lambda df: df.assign(Id=[first, first + "\u200b", *df["Id"][2:]]))
    read_competition(task1)
    out = capsys.readouterr().out
    assert "NOTE" in out and ascii(first + "\u200b") in out


@pytest.mark.parametrize("folder, part", [("Train", "training"), ("Test", "test")])
def test_files_whose_names_are_the_same_by_nfc_are_twins(task1, folder, part):
    for name in (COMPOSED, DECOMPOSED):
        Image.new("RGB", (8, 8)).save(task1 / folder / f"{name}.png")
    with pytest.raises(UserError) as error:
        read_competition(task1)
    twins = f"{ascii(DECOMPOSED + '.png')} and {ascii(COMPOSED + '.png')}"
    assert f"1 {part} images of the same id: {twins}" in str(error.value)


@pytest.mark.parametrize("folder", ["Train", "Test"])
def test_a_file_name_that_is_no_text_is_named(task1, folder):
    Image.new("RGB", (8, 8)).save(task1 / folder / "x.png")
    os.rename(task1 / folder / "x.png", os.fsencode(task1 / folder) + b"/\xff.png")
    with pytest.raises(
        UserError, match=r"1 \w+ images whose file names are no UTF-8: '.udcff.png'"
    ):
        read_competition(task1)
    assert len(read_competition(task1, skip_bad=True).train) == len(ids(task1))


def test_skip_bad_is_advised_only_where_something_is_left(task1):
    edit(task1, lambda df: df.assign(Id=[f"other{i}" for i in range(len(df))]))
    for skip_bad in (False, True):
        with pytest.raises(UserError) as error:
            read_competition(task1, skip_bad)
        text = str(error.value)
        assert "pass --skip-bad" not in text and "too little left" in text
        assert "where they are called " in text and ".png" in text


def test_a_folder_of_other_files_says_which(task1):
    for file in (task1 / "Test").iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"no .png/.*/... images in it, but .heic"):
        read_competition(task1)


def test_what_is_no_file_is_no_image(task1):
    (task1 / "Train" / "folder.png").mkdir()
    os.mkfifo(task1 / "Train" / "pipe.png")  # opening it would wait for ever
    assert len(read_competition(task1).train) == len(ids(task1))


@pytest.mark.parametrize("column", ["Id", "label"])
def test_names_with_line_breaks_are_refused_in_one_line(task1, column):
    """They would end a row of a table that is read elsewhere."""
    edit(task1, lambda df: df.assign(**{column: ["a\rb", *df[column][1:]]}))
    with pytest.raises(UserError) as error:
        read_competition(task1)
    shown = r"'a\rb'" if column == "Id" else ids(task1)[0]
    assert f"1 ids with a line break, or the like, in them or their label: {shown}" in str(
        error.value
    )
    assert "\r" not in str(error.value)


def test_the_competition_of_a_run_is_found_by_its_options(task1, tmp_path):
    shutil.copy(task1 / "train_labels.csv", task1 / "other_labels.csv")
    with pytest.raises(UserError, match="--labels"):
        read_competition(task1)
    options = {"labels": "other_labels.csv", "epochs": 1}
    write_json(tmp_path / "run.json", {"format": FORMAT, "data": str(task1), "options": options})
    assert competition_of_run(tmp_path).layout.table == "other_labels.csv"
    shutil.rmtree(task1)
    assert competition_of_run(tmp_path) is None
