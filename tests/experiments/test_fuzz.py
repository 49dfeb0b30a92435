"""Generated input is tried and counted; `make test-fuzz` tries thousands."""

import json

import pytest
from PIL import Image

from experiments.fuzz import KINDS, files_of, main, plain_pillow, run_part, sealed
from pokefast.errors import UserError


@pytest.mark.parametrize("kind", ["PNG", "tables"])
def test_inputs_of_a_kind_are_tried_and_counted(kind, tmp_path, capfd):
    run_part(kind, 30, 0, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert 20 <= sum(results["found"].values()) <= 30 and results["found"]["refused"] > 0
    assert capfd.readouterr() == ("", "")


def test_every_format_has_files_that_pillow_reads():
    picture = Image.linear_gradient("L").resize((20, 10)).convert("RGBA")
    for format in KINDS:
        files = files_of(format, [picture, picture])
        assert files and all(plain_pillow(data, [format])[0].size == 800 for data in files)
        if format == "PNG":
            assert [sealed(data) for data in files] == files


def test_an_unknown_format_is_named():
    with pytest.raises(UserError, match="--only EPS: EPS is none of PNG"):
        main(only="EPS")
