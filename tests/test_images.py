"""Pictures of every mode come out as 8-bit RGB or RGBA with the values that a person would see."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from fastai.vision.augment import Resize, ResizeMethod
from PIL import ExifTags, Image

from pokefast.errors import UserError
from pokefast.images import (
    FORMATS,
    IMAGE_SUFFIXES,
    MATTE,
    MAX_PIXELS,
    PILImageRGB,
    PILImageRGBA,
    Squish,
    ToGrey,
    image_error,
    image_errors,
    open_image,
)

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


@pytest.mark.parametrize("opener", [PILImageRGB, PILImageRGBA])
@pytest.mark.parametrize("shape", [(9, 40), (50, 30), (16, 16)])
def test_squish_is_fastais_resize(opener, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 4), dtype=np.uint8)
    image = opener.create(Image.fromarray(pixels))
    ours, theirs = Squish(16)(image), Resize(16, ResizeMethod.Squish)(image)
    assert type(ours) is type(theirs) is opener
    assert (np.asarray(ours) == np.asarray(theirs)).all()


# a picture whose four quarters differ, so that each way of turning it can be told
QUARTERS = np.zeros((6, 10, 4), np.uint8)
QUARTERS[:3, :5], QUARTERS[:3, 5:] = (200, 30, 40, 255), (30, 60, 220, 255)
QUARTERS[3:, :5], QUARTERS[3:, 5:] = (10, 200, 40, 255), (240, 240, 10, 255)
HELD = {  # what a person sees of QUARTERS with each orientation
    1: QUARTERS,
    2: QUARTERS[:, ::-1],
    3: QUARTERS[::-1, ::-1],
    4: QUARTERS[::-1],
    5: QUARTERS.transpose(1, 0, 2),
    6: np.rot90(QUARTERS, -1),
    7: QUARTERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(QUARTERS),
}
PICTURE = Image.fromarray(QUARTERS).convert("RGB")
LOSSLESS = {
    "PNG": {},
    "WEBP": dict(lossless=True),
    "TIFF": {},
    "TIFF, compressed": dict(compression="tiff_lzw"),
}
LOSSY = {
    "JPEG": dict(quality=95, subsampling=0),
    "MPO": dict(quality=95, subsampling=0, save_all=True, append_images=[PICTURE]),
    "AVIF": dict(quality=100, subsampling="4:4:4"),
}


def encoded(image, format, **how):
    out = io.BytesIO()
    image.save(out, format.partition(",")[0], **how)
    return out.getvalue()


def exif(*entries):
    """An EXIF block of (tag, type, count, bytes), values of up to 8 bytes."""
    head, data = struct.pack("<2sHIH", b"II", 42, 8, len(entries)), b""
    for tag, kind, count, value in sorted(entries):
        if len(value) > 4:
            data += value
            value = struct.pack("<I", 14 + 12 * len(entries) + len(data) - len(value))
        head += struct.pack("<HHI4s", tag, kind, count, value)
    return head + bytes(4) + data


def held(orientation):
    return (0x0112, 3, 1, struct.pack("<H", orientation))


def png(width, height, bits, colour, rows, *chunks):
    """A PNG of packed `rows`, with chunks of (name, bytes) before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    sealed = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def assert_reads(data, expected, tmp_path, within=0):
    """The bytes `data` are read as the RGBA array `expected`, and no check says otherwise."""
    file = tmp_path / "x.jpg"  # content counts, not the suffix
    file.write_bytes(data)
    assert image_error(file) is None
    found = np.asarray(PILImageRGBA.create(file))
    assert found.shape == expected.shape
    assert abs(found.astype(int) - expected).max() <= within


@pytest.mark.parametrize("orientation", HELD)
@pytest.mark.parametrize("format", LOSSLESS | LOSSY)
def test_a_picture_is_turned_as_its_camera_was_held(format, orientation, tmp_path):
    how, within = (LOSSLESS | LOSSY)[format], 30 if format in LOSSY else 0
    if format.startswith("TIFF"):
        data = encoded(PICTURE, format, tiffinfo={0x0112: orientation}, **how)
        return assert_reads(data, HELD[orientation], tmp_path)
    odd = (0x011A, 10, 1, struct.pack("<ii", -1, 0))  # type 10: a signed fraction, of -1/0
    for others in [()] if format == "AVIF" else [(), (odd,)]:  # Pillow does not write such an AVIF
        block = exif(held(orientation), *others)
        block = b"Exif\0\0" + block if format in ("JPEG", "MPO") else block
        assert_reads(
            encoded(PICTURE, format, exif=block, **how), HELD[orientation], tmp_path, within
        )


@pytest.mark.parametrize("orientation", [1, 5, 6])
def test_an_avif_is_turned_by_its_boxes_whatever_its_exif_holds(orientation, tmp_path):
    block = exif(held(orientation), (0x011A, 5, 1, struct.pack("<II", 72, 1)))
    data = encoded(PICTURE, "AVIF", exif=block, **LOSSY["AVIF"])
    assert (b"irot" in data) == (orientation > 1)
    signed = struct.pack("<HHI", 0x011A, 10, 1)
    odd = data.replace(struct.pack("<HHI", 0x011A, 5, 1), signed)
    odd = odd.replace(struct.pack("<II", 72, 1), struct.pack("<ii", -1, 0))
    for broken in (odd, data.replace(b"II*\0", b"junk")):
        assert broken != data
        assert_reads(broken, HELD[orientation], tmp_path, within=30)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_is_turned_whatever_its_other_tags_hold(orientation, tmp_path):
    data = encoded(PICTURE, "TIFF", tiffinfo={0x0112: orientation}, dpi=(72, 72))
    for tag in (0x011A, 0x02BC, 0x8769):  # a resolution, XMP, a block of EXIF
        for kind in (4, 10, 13):
            broken = data.replace(
                struct.pack("<HHI", 0x011A, 5, 1), struct.pack("<HHI", tag, kind, 1)
            )
            assert_reads(broken, HELD[orientation], tmp_path)


@pytest.mark.parametrize("value", [b"\xff\xff\xff\xff\0\0\0\0", bytes(8)], ids=["-1/0", "0"])
@pytest.mark.parametrize("kind", range(1, 14))
def test_tags_of_any_type_keep_nobody_from_the_pixels(kind, value, tmp_path):
    for tag in (0x010F, 0x011A, 0x0128, 0x0132, 0x8769, 0x8825, 0xA005, 0x927C):
        block = b"Exif\0\0" + exif(held(6), (tag, kind, 1, value))
        data = encoded(PICTURE, "JPEG", exif=block, **LOSSY["JPEG"])
        assert_reads(data, HELD[6], tmp_path, within=30)


CHUNKS = [
    (b"gAMA", b""),
    (b"pHYs", b"1"),
    (b"cHRM", b"1"),
    (b"sRGB", b""),
    (b"iCCP", b"x"),
    (b"iCCP", b"x\0\0not zlib"),
    (b"tEXt", b"\xff" * 9),
    (b"zTXt", b"k\0\0" + zlib.compress(bytes(9 << 20))),
    (b"iTXt", b"k"),
    (b"eXIf", b"x"),
    (b"acTL", b"1"),
    (b"fcTL", b"1"),
    (b"tRNS", b"\0"),
    (b"tRNS", bytes(8)),
]


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda c: f"{c[0].decode()}-{len(c[1])}")
def test_a_broken_chunk_that_is_no_pixels_is_left_out(chunk, tmp_path):
    rows = QUARTERS[..., :3].reshape(6, -1)
    assert_reads(png(10, 6, 8, 2, rows, chunk), QUARTERS, tmp_path)
    assert_reads(png(10, 6, 8, 2, rows, chunk, (b"eXIf", exif(held(6)))), HELD[6], tmp_path)


def test_a_chunk_of_words_with_a_damaged_checksum_is_left_out(tmp_path):
    rows = QUARTERS[..., :3].reshape(6, -1)
    data = png(10, 6, 8, 2, rows, (b"tEXt", b"key\0value"))
    assert_reads(data.replace(b"value", b"valve"), QUARTERS, tmp_path)


@pytest.mark.parametrize(
    "marker, payload",
    [
        (0xE0, b"JFIF"),
        (0xE1, b"Exif\0\0"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"MPF\0junk"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x10x"),
        (0xEE, b"Adobe"),
        (0xFE, b""),
    ],
)
def test_a_broken_segment_that_is_no_pixels_is_left_out(marker, payload, tmp_path):
    data = encoded(PICTURE, "JPEG", **LOSSY["JPEG"])
    segment = struct.pack(">BBH", 255, marker, len(payload) + 2) + payload
    assert_reads(data[:2] + segment + data[2:], QUARTERS, tmp_path, within=30)


@pytest.mark.parametrize("bits, clear", [(1, 0), (1, 1), (2, 2), (4, 5), (8, 32), (16, 8199)])
def test_the_transparent_grey_of_a_png_is_in_its_own_bits(bits, clear, tmp_path):
    values = {8: np.arange(16) * 16, 16: np.arange(16) * 4096 + 7}.get(
        bits, np.arange(16) % 2**bits
    )
    digits = (values[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(digits.astype(np.uint8).reshape(1, -1), axis=1)
    grey = values >> 8 if bits == 16 else values * 255 // (2**bits - 1)
    expected = np.stack([grey, grey, grey, np.where(values == clear, 0, 255)], -1)[None]
    data = png(16, 1, bits, 0, rows, (b"tRNS", struct.pack(">H", clear)))
    assert_reads(data, expected, tmp_path)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_kept(bits, tmp_path):
    rows = QUARTERS[..., :3].reshape(6, -1)
    rows = np.repeat(rows, bits // 8, axis=1)  # 0xABAB for 0xAB
    colour = np.repeat(np.uint8(RED), bits // 8).tobytes()
    colour = colour if bits == 16 else b"".join(b"\0" + bytes([v]) for v in RED)
    expected = QUARTERS.copy()
    expected[:3, :5, 3] = 0
    assert_reads(png(10, 6, bits, 2, rows, (b"tRNS", colour)), expected, tmp_path)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa"])
def test_alpha_is_kept_in_every_mode_that_has_it(mode):
    image = Image.new("RGBA", (2, 1), (80, 80, 80, 255))
    image.putpixel((1, 0), (80, 80, 80, 0))
    by_way_of = {"LA": "LA", "La": "LA", "PA": "PA", "RGBa": "RGBA"}[mode]
    rgba = np.asarray(open_image(image.convert(by_way_of).convert(mode), "RGBA"))
    assert rgba[0, :, 3].tolist() == [255, 0]
    assert tuple(np.asarray(open_image(image.convert(by_way_of).convert(mode)))[0, 1]) == MATTE


def test_floats_are_0_to_1_or_what_8_bits_hold(tmp_path):
    values = np.array([[0, 51, 255]], np.float32)
    for factor in (1, 1 / 255):
        Image.fromarray(values * np.float32(factor)).save(tmp_path / "x.png", "TIFF")
        assert np.asarray(open_image(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 51, 255]


def refused(data, tmp_path, says):
    file = tmp_path / "x.png"
    file.write_bytes(data)
    assert says in image_error(file)
    with pytest.raises(UserError) as error:
        open_image(file)
    text = str(error.value)
    assert text == f"{file}: {image_error(file)}" and "\n" not in text


@pytest.mark.parametrize("format", ["EPS", "PDF", "TGA", "IM", "SPIDER"])
def test_other_decoders_never_see_a_file(format, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    refused(encoded(PICTURE, format), tmp_path, "not a picture")


def test_suffixes_are_all_that_pillow_has_for_what_is_read():
    Image.init()
    suffixes = {s for s, f in Image.registered_extensions().items() if f in (*FORMATS, "MPO")}
    assert suffixes - {".bw", ".rgb", ".rgba"} | {".tga"} == set(IMAGE_SUFFIXES)


def test_a_tga_is_known_by_its_suffix(tmp_path):
    PICTURE.save(tmp_path / "x.TGA", "TGA")
    assert open_image(tmp_path / "x.TGA").size == PICTURE.size


@pytest.mark.parametrize("size, read", [((4000, 3000), (2000, 1500)), ((2047, 9000), (2047, 9000))])
def test_a_large_photograph_is_decoded_smaller_and_held_upright(size, read, tmp_path):
    picture = Image.new("RGB", size, (40, 90, 200))
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(tmp_path / "x.jpg", exif=exif)
    found = open_image(tmp_path / "x.jpg")
    assert found.size == read[::-1] and found.getpixel((5, 5)) == pytest.approx(
        (40, 90, 200), abs=3
    )


@pytest.mark.parametrize("side", [9000, 9500, 20_000])
def test_a_bomb_is_refused_by_its_size(side, tmp_path):
    assert side**2 > MAX_PIXELS
    row = bytes(-(-side // 8))
    data = png(side, side, 1, 0, (row for _ in range(side)))
    assert len(data) < 100_000
    refused(data, tmp_path, "pixels: make it smaller")


def test_checks_of_many_are_those_of_each(tmp_path):
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    PICTURE.save(files[0])
    files[1].write_bytes(b"")
    files[2].mkdir()
    found = image_errors(files)
    assert found == {files[1]: "an empty file: copy it anew", files[2]: "Is a directory"}
    assert image_error(tmp_path / "nowhere.png") == "No such file or directory"


def test_damaged_bytes_are_read_or_refused_in_one_line(tmp_path, capfd, recwarn):
    noise = Image.effect_noise((48, 40), 90).convert("RGB")
    names = [n for n in FORMATS for _ in range(20)] + ["TIFF, lzw", "TIFF, jpeg"] * 20
    how = {"TIFF, lzw": dict(compression="tiff_lzw"), "TIFF, jpeg": dict(compression="jpeg")}
    rng, read, file = random.Random(0), 0, tmp_path / "x.png"
    for name in names:
        data = bytearray(encoded(noise, name, **how.get(name, {})))
        for _ in range(rng.choice((1, 2, 9))):
            data[rng.randrange(rng.choice((60, len(data))))] = rng.choice(
                (0, 255, rng.randrange(256))
            )
        file.write_bytes(data)
        reason = image_error(file)
        try:
            assert open_image(file, "RGBA").mode == "RGBA" and reason is None
            read += 1
        except UserError as e:
            assert str(e) == f"{file}: {reason}" and "\n" not in reason
    assert 0.2 * len(names) < read < 0.9 * len(names)
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_errors_are_told_apart(tmp_path):
    good = tmp_path / "good.png"
    Image.effect_noise((40, 40), 90).save(good)
    cut, text = tmp_path / "cut.png", tmp_path / "text.png"
    cut.write_bytes(good.read_bytes()[:700])
    text.write_text("no picture")
    assert image_error(good) is None
    assert "truncated" in image_error(cut)
    assert image_error(text).startswith("not a picture")
