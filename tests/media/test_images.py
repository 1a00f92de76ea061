"""Pictures in and out, against the original's 8-bit result and its Lanczos init picture."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from disco.errors import InputError, RunError
from disco.media.images import (
    contact_sheet,
    from_uint8,
    load_picture,
    png_bytes,
    read_metadata,
    read_pixels,
    to_uint8,
)
from tests.places import GOLDEN

TRY = "Save it anew as an 8-bit PNG or JPEG."


def flat(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def error_of(source: str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_picture(source, **options)  # type: ignore[arg-type]
    return str(caught.value)


# tensor <-> pixels


def test_pixels_equal_the_originals_png() -> None:
    golden = np.load(GOLDEN / "h_end_to_end.npz")
    pixels = to_uint8(torch.from_numpy(golden["ddim_sec_inner/pred_last"])[0])
    assert np.array_equal(pixels, golden["ddim_sec_inner/final_png"])


def test_pixels_are_truncated_and_clamped() -> None:
    row = torch.tensor([-7.0, -1.0, 0.0, 253.9 / 127.5 - 1, 1.0, 7.0])
    pixels = to_uint8(row.expand(3, 1, 6))
    assert pixels.shape == (1, 6, 3)
    assert pixels[0, :, 0].tolist() == [0, 0, 127, 253, 255, 255]


def test_half_precision_and_gradients_are_accepted() -> None:
    picture = torch.ones(3, 2, 2, dtype=torch.float16, requires_grad=True)
    assert (to_uint8(picture) == 255).all()


def test_infinity_is_clamped_and_nan_is_an_error() -> None:
    assert (to_uint8(torch.full((3, 1, 1), float("inf"))) == 255).all()
    with pytest.raises(RunError) as caught:
        to_uint8(torch.full((3, 1, 1), float("nan")))
    assert (
        str(caught.value) == "the picture contains NaN (values that are not numbers). Try `precision: fp32`."
    )


def test_every_byte_survives_the_way_there_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    there = from_uint8(pixels)
    assert there.shape == (1, 3, 16, 16)
    assert (there.min(), there.max()) == (-1, 1)
    assert np.abs(to_uint8(there[0]).astype(int) - pixels).max() <= 1  # truncation after float32


def test_a_png_holds_pixels_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = torch.linspace(-1, 1, 3 * 4 * 6).reshape(3, 4, 6)
    path.write_bytes(png_bytes(picture, {"seed": 3}))
    assert read_metadata(path) == {"seed": 3}
    assert np.array_equal(read_pixels(path), to_uint8(picture))
    assert png_bytes(picture, {"seed": 3}) == png_bytes(to_uint8(picture), {"seed": 3}) == path.read_bytes()


def test_reading_pixels_of_a_torn_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(flat(3))[:-20])
    with pytest.raises(InputError, match="a damaged PNG: it ends after"):
        read_pixels(path)


# init and prompt pictures


def test_the_init_picture_equals_the_originals() -> None:
    golden = np.load(GOLDEN / "d_guidance.npz")["init"]
    for as_stored in (False, True):
        loaded = load_picture(str(GOLDEN / "init_48x80.png"), size=(64, 32), as_stored=as_stored)
        assert np.array_equal(loaded.tensor.numpy(), golden)
    assert loaded.sha256 == hashlib.sha256((GOLDEN / "init_48x80.png").read_bytes()).hexdigest()


def test_without_size_the_picture_keeps_its_own() -> None:
    assert load_picture("init_48x80.png", base_dirs=[GOLDEN]).tensor.shape == (1, 3, 48, 80)


@pytest.mark.parametrize(("most", "shape"), [(24, (24, 40)), (48, (48, 80)), (1000, (48, 80)), (7, (7, 11))])
def test_the_short_side_is_bounded_and_never_grows(most: int, shape: tuple[int, int]) -> None:
    loaded = load_picture("init_48x80.png", base_dirs=[GOLDEN], max_short_side=most)
    assert loaded.tensor.shape[2:] == shape


def test_relative_paths_are_looked_up_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.png").write_bytes(png_bytes(flat(value)))
    first, second = tmp_path / "a", tmp_path / "b"
    assert load_picture("p.png", base_dirs=[first, second]).tensor.max() == -1
    assert load_picture("p.png", base_dirs=[second, first]).tensor.min() == 1
    assert load_picture("p.png", base_dirs=[tmp_path, second]).tensor.min() == 1
    monkeypatch.chdir(second)
    assert load_picture("p.png").tensor.min() == 1
    text = error_of("q.png", base_dirs=[first, second])
    assert text == f"q.png: no such picture. Looked for {first / 'q.png'}, {second / 'q.png'}."


def test_a_url_goes_through_the_download_given() -> None:
    url, data = "HTTPS://example.org/p.png", png_bytes(flat(255))
    loaded = load_picture(url, download={url: data}.__getitem__)
    assert (loaded.tensor == 1).all()
    assert loaded.sha256 == hashlib.sha256(data).hexdigest()
    assert error_of(url) == f"{url}: a web address; only local pictures can be read. Download it first."
    assert error_of(url, download=lambda _: b"<html>") == f"{url}: not a picture in a known format. {TRY}"


def saved(tmp_path: Path, picture: Image.Image, name: str = "p.png", **options: object) -> str:
    picture.save(tmp_path / name, **options)  # type: ignore[arg-type]
    return str(tmp_path / name)


def test_exif_orientation_is_followed_unless_as_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to see it upright
    source = saved(tmp_path, Image.new("RGB", (16, 8)), "p.jpg", exif=exif)
    assert load_picture(source).tensor.shape[2:] == (16, 8)
    assert load_picture(source, as_stored=True).tensor.shape[2:] == (8, 16)


def test_transparent_parts_lie_on_white_unless_as_stored(tmp_path: Path) -> None:
    source = saved(tmp_path, Image.new("RGBA", (2, 2), (0, 0, 0, 0)))
    assert (load_picture(source).tensor == 1).all()
    assert (load_picture(source, as_stored=True).tensor == -1).all()
    half = saved(tmp_path, Image.new("LA", (2, 2), (0, 128)), "h.png")
    assert load_picture(half).tensor.max() == pytest.approx(127 / 127.5 - 1, abs=1 / 127)


def test_palettes_keep_their_colours(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    red = load_picture(saved(tmp_path, picture)).tensor
    assert red[0, :, 0, 0].tolist() == [1, -1, -1]
    see_through = load_picture(saved(tmp_path, picture, "t.png", transparency=1)).tensor
    assert see_through[0, :, 0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("as_stored", [False, True])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, as_stored: bool) -> None:
    ramp = np.array([[0, 257 * 100, 65535]], np.uint16)
    tensor = load_picture(saved(tmp_path, Image.fromarray(ramp)), as_stored=as_stored).tensor
    assert np.round((tensor[0, 0, 0].numpy() + 1) * 127.5).tolist() == [0, 100, 255]


def test_grey_and_cmyk_become_three_channels(tmp_path: Path) -> None:
    assert load_picture(saved(tmp_path, Image.new("L", (2, 2), 255))).tensor.tolist()[0][2][0][0] == 1
    assert load_picture(saved(tmp_path, Image.new("CMYK", (8, 8)), "c.jpg")).tensor.shape == (1, 3, 8, 8)


def test_wrong_files_are_named_early(tmp_path: Path) -> None:
    missing = tmp_path / "none.png"
    assert error_of(str(missing)) == f"{missing}: no such picture. Looked for {missing}."
    assert error_of(str(tmp_path)) == f"{tmp_path}: not a file but a folder or device. Give one picture."
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert error_of(str(text)) == f"{text}: not a picture in a known format. {TRY}"
    floats = saved(tmp_path, Image.new("F", (2, 2)), "f.tif")
    says = "a picture of floating-point numbers, whose range is unknown"
    assert error_of(floats) == f"{floats}: {says}. {TRY}"
    deep = saved(tmp_path, Image.fromarray(np.full((2, 2), 70_000, np.int32)), "d.tif")
    assert error_of(deep) == f"{deep}: a picture of more than 16 bits. {TRY}"


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.webp", "p.gif", "p.bmp"])
def test_a_cut_off_file_is_an_error(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = Path(saved(tmp_path, Image.fromarray(noise), name))
    data = path.read_bytes()
    for part in (0.2, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        assert error_of(str(path)).startswith((f"{path}: a damaged picture (", f"{path}: not a picture"))


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path, Image.new("L", (2000, 1501)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000_000)
    assert error_of(source) == f"{source}: more than 3 million pixels. Shrink the picture first."
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    assert error_of(source) == f"{source}: more than 1 million pixels. Shrink the picture first."


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with open(path, "wb") as file:
        file.truncate((256 << 20) + 1)  # sparse: takes no room
    assert error_of(str(path)) == f"{path}: larger than 256 MiB. Shrink the picture first."


# contact sheets


def test_a_sheet_lays_pictures_row_by_row() -> None:
    sheet = contact_sheet([flat(10), flat(20), flat(30)], columns=2)
    assert sheet.shape == (18, 18, 3)  # two cells of 8 and a gap of 2
    assert [sheet[4, 4, 0], sheet[4, 14, 0], sheet[14, 4, 0], sheet[14, 14, 0]] == [10, 20, 30, 255]


def test_columns_come_out_nearly_square_or_as_labelled() -> None:
    assert contact_sheet([flat(0)]).shape == (8, 8, 3)
    assert contact_sheet([flat(0)] * 5).shape[:2] == (18, 28)
    assert contact_sheet([flat(0)] * 4, column_labels=list("abcd")).shape[1] == 38


def test_smaller_pictures_stand_in_the_middle_of_their_cell() -> None:
    sheet = contact_sheet([flat(0, 8, 16), flat(9, 4, 4)], columns=2)
    assert sheet.shape == (8, 34, 3)
    rows, columns = np.where(sheet[:, 18:, 0] == 9)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 6, 9)


def test_labels_take_room_and_leave_the_pictures_alone() -> None:
    blue = np.array([0, 0, 200], np.uint8)  # a colour that ink cannot have
    pictures = [np.broadcast_to(blue, (64, 64, 3))] * 4
    plain = contact_sheet(pictures, columns=2)
    below = contact_sheet(pictures, labels=["a", "b", "two words and more than fit", "d"], columns=2)
    both = contact_sheet(pictures, row_labels=["eta 0", "eta 0.8"], column_labels=["2000", "5000"])
    assert below.shape[0] > plain.shape[0]
    assert below.shape[1] == plain.shape[1]
    assert both.shape[0] > plain.shape[0]
    assert both.shape[1] > plain.shape[1]
    for sheet in (plain, below, both):
        assert (sheet == blue).all(axis=2).sum() == 4 * 64 * 64
    assert (below.max(axis=2) < 60).any()  # ink
    assert not np.array_equal(below, contact_sheet(pictures, labels=["a", "b", "c", "d"], columns=2))


def test_any_label_fits() -> None:
    for label in ("", " ", "x" * 500, "a b " * 200, "漢字 🌊", "two\nlines"):
        assert contact_sheet([flat(0)] * 2, labels=[label] * 2).shape[1] == 18


def test_a_large_sheet_is_shrunk() -> None:
    sheet = contact_sheet([np.zeros((10, 5000, 3), np.uint8)] * 2, columns=2)
    assert sheet.shape[1] <= 8192 + 100
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([])


def test_pil_opens_what_png_bytes_wrote() -> None:
    with Image.open(io.BytesIO(png_bytes(flat(7), {}))) as picture:
        assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (8, 8), (7, 7, 7))


def test_a_strip_is_no_prompt_but_may_be_an_init(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    path.write_bytes(png_bytes(np.zeros((1, 500, 3), dtype=np.uint8)))
    with pytest.raises(InputError) as error:
        load_picture(str(path), max_short_side=64)
    ratio = "one side is more than 10 times as long as the other"
    assert str(error.value) == f"{path}: 500x1: {ratio}. Crop the picture first."
    assert load_picture(str(path), size=(32, 16)).tensor.shape == (1, 3, 16, 32)


def test_formats_that_run_programs_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.eps"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match=r"a\.eps: not a picture in a known format"):
        load_picture(str(path))
