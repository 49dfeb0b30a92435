"""Pictures of every mode come out as 8-bit RGB or RGBA with the values that a person would see."""

import numpy as np
import pytest
from PIL import Image

from pokefast.images import MATTE, PILImageRGB, PILImageRGBA, ToGrey, image_error

RED = (200, 30, 40)


def made(mode, tmp_path, suffix="png"):
    """A 6x4 picture of one colour, saved in `mode` and opened again by path."""
    image = Image.new("RGB", (6, 4), RED)
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 6), 50_000, np.uint16))
    elif mode == "P":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE)
    else:
        image = image.convert(mode)
    file = tmp_path / f"x.{suffix}"
    image.save(file)
    return file


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("RGB", RED),
        ("RGBA", RED),
        ("P", RED),
        ("L", (82, 82, 82)),
        ("LA", (82, 82, 82)),
        ("I;16", (195, 195, 195)),  # 50,000 of 65,535
        ("1", None),
    ],
)
def test_every_mode_is_read(mode, expected, tmp_path):
    rgb = np.asarray(PILImageRGB.create(made(mode, tmp_path)))
    rgba = np.asarray(PILImageRGBA.create(made(mode, tmp_path)))
    assert rgb.shape == (4, 6, 3) and rgb.dtype == np.uint8
    assert rgba.shape == (4, 6, 4) and (rgba[..., 3] == 255).all()
    assert (rgba[..., :3] == rgb).all()
    if expected:
        assert abs(rgb.astype(int) - expected).max() <= 1


def test_jpeg_is_read_and_turned_as_its_camera_says(tmp_path):
    image = Image.new("RGB", (6, 4), RED)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "x.jpg", exif=exif, quality=95)
    assert PILImageRGB.create(tmp_path / "x.jpg").shape == (6, 4)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_pixels_are_composited_not_dropped(mode, tmp_path):
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (255, 255, 255, 0))
    if mode == "P":
        image = image.quantize(4)
    image.save(tmp_path / "x.png")
    rgb = np.asarray(PILImageRGB.create(tmp_path / "x.png"))
    assert tuple(rgb[0, 1]) == MATTE
    assert abs(rgb[0, 0].astype(int) - RED).max() <= 4
    assert np.asarray(PILImageRGBA.create(tmp_path / "x.png"))[0, 1, 3] == 0


def test_half_transparent_is_half_way(tmp_path):
    Image.new("RGBA", (1, 1), (255, 0, 0, 128)).save(tmp_path / "x.png")
    rgb = np.asarray(PILImageRGB.create(tmp_path / "x.png"))[0, 0].astype(int)
    assert abs(rgb - (192, 64, 64)).max() <= 1


def test_arrays_and_pil_images_are_taken_too():
    array = np.full((4, 6, 3), 7, np.uint8)
    assert np.asarray(PILImageRGBA.create(array)).shape == (4, 6, 4)
    assert np.asarray(PILImageRGB.create(Image.new("L", (6, 4)))).shape == (4, 6, 3)


def test_grey_is_luma():
    grey = ToGrey()(PILImageRGB.create(Image.new("RGB", (2, 2), RED)))
    assert grey.mode == "L" and np.asarray(grey)[0, 0] == 82


def test_errors_are_told_apart(tmp_path):
    good = tmp_path / "good.png"
    Image.effect_noise((40, 40), 90).save(good)
    cut, text = tmp_path / "cut.png", tmp_path / "text.png"
    cut.write_bytes(good.read_bytes()[:700])
    text.write_text("no picture")
    assert image_error(good) is None
    assert "truncated" in image_error(cut)
    assert image_error(text) == "not a picture"
