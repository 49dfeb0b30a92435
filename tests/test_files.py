"""Tables of ours are no formulas to a spreadsheet, and are read back as they were."""

import pandas as pd
import pytest

from pokefast.errors import UserError
from pokefast.files import as_written, no_formula, read_csv, read_own_csv, write_own_csv

FORMULAS = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "''-", "-"]
HARMLESS = ["", "a", "a=1", "'a", "'", "p_=1", " ", "\u00e9", "1"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_that_looks_like_a_formula_begins_with_an_apostrophe(cell):
    assert no_formula(cell) == "'" + cell and as_written(no_formula(cell)) == cell


@pytest.mark.parametrize("cell", [*HARMLESS, 1.5, -1.5, float("nan")])
def test_any_other_cell_stays(cell):
    assert no_formula(cell) is cell
    assert not isinstance(cell, str) or as_written(cell) == cell


def test_a_table_comes_back_as_it_was(tmp_path):
    cells = [cell for cell in FORMULAS + HARMLESS if "\r" not in cell]  # pandas does not quote it
    table = pd.DataFrame(
        {"=name": cells, "loss": [-0.5] * len(cells), "@": pd.Series(cells, dtype=object)}
    )
    write_own_csv(tmp_path / "t.csv", table)
    raw = read_csv(tmp_path / "t.csv")
    assert not any(
        cell[:1] in set("=+-@\t\r\n") and cell != "-0.5" for cell in raw.to_numpy().ravel()
    )
    back = read_own_csv(tmp_path / "t.csv")
    assert list(back.columns) == list(table.columns)
    assert list(back["=name"]) == cells == list(back["@"])
    assert (back["loss"].astype(float) == -0.5).all()


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "No columns"),
        (b"a,b\n1,2,3,4\n1\n", "more cells"),
        (b'a,b\n"1,2\n', "EOF inside string"),
        ("a,b\n1,2\n".encode("utf-16"), "save it as CSV in UTF-8"),
        (b"a;b\n1;2\n", "expected 'a,b', with commas"),
        (b"a,b,b\n1,2,3\n", "expected 'a,b'"),
        (b"a\nb,c\n", "more cells"),
    ],
)
def test_a_table_that_is_none_is_named_in_one_line(tmp_path, data, says):
    file = tmp_path / "t.csv"
    file.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_csv(file, ["a", "b"])
    assert str(error.value).startswith(f"{file}: ") and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"a,b\r\nNA,\r\n", b"\xef\xbb\xbfa,b\nNA,\n", b"a,b\nNA\n"])
def test_cells_are_kept_as_they_stand(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    assert read_csv(tmp_path / "t.csv", ["a", "b"]).to_numpy().tolist() == [["NA", ""]]
