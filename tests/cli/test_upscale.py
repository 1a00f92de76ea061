"""`run.py upscale`: what it makes, keeps and refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from disco.__main__ import main
from disco.files.places import POCKET
from disco.media.images import png_bytes, read_metadata, read_pixels
from disco.networks.srvgg import Srvgg

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one of our pictures, a.png, and b.png of another program, both 20x10."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(dict(Srvgg(4, 1, 2).state_dict()), "twice.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    Path("a.png").write_bytes(png_bytes(pixels, {"format": 1, "seed": 7}))
    Image.fromarray(pixels).save("b.png")
    return tmp_path


def said(capsys: Capture, *words: str, code: int = 0) -> tuple[list[str], list[str]]:
    """The lines on stdout and on stderr."""
    try:
        got: Any = main(["upscale", *words])
    except SystemExit as error:
        got = error.code
    out, err = capsys.readouterr()
    assert got == code and "Traceback" not in err, err
    return out.splitlines(), err.splitlines()


def test_any_pngs(capsys: Capture) -> None:
    assert said(capsys, "a.png", "b.png") == (["a_x4.png", "b_x4.png"], [])
    assert read_pixels("a_x4.png").shape == (40, 80, 3)
    metadata, other = read_metadata("a_x4.png"), {"seed": 7, "finisher": "_x4"}
    assert metadata["upscaler"]["name"] == "pocket_upscale" and other.items() <= metadata.items()
    assert np.array_equal(read_pixels("a_x4.png"), read_pixels("b_x4.png"))
    assert b"iTXt" not in Path("b_x4.png").read_bytes()


def test_what_is_there_already_is_kept(capsys: Capture) -> None:
    said(capsys, "a.png")
    before = Path("a_x4.png").read_bytes()
    out, err = said(capsys, "a.png", "a_x4.png", "b.png")
    assert out == ["b_x4.png"]
    assert err == [
        "a_x4.png: kept: it is there already",
        "a_x4.png: left out: an enlarged copy of a.png",
    ]
    assert Path("a_x4.png").read_bytes() == before
    Path("a.png").unlink()
    assert said(capsys, "a_x4.png", "--scale", "x2") == (["a_x4_x2.png"], [])


def test_a_file_of_weights_and_its_scale(capsys: Capture) -> None:
    assert said(capsys, "a.png", "--model", "twice.safetensors", "--scale", "x2")[0] == ["a_x2.png"]
    assert said(capsys, "a.png", "--model", "twice.safetensors", code=2)[1] == [
        "upscale_model: twice.safetensors enlarges 2 times, which gives no x4. Write upscale: x2, or name "
        "another network"
    ]


def test_all_pictures_are_looked_at_before_anything_is_loaded(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.cli.upscale._loaded", lambda *_: pytest.fail("loaded"))
    Image.new("RGB", (4096, 4096)).save("large.png")
    Path("text.png").write_text("no picture")
    Path("cut.png").write_bytes(Path("a.png").read_bytes()[:-20])
    faults = {
        "large.png": "large.png: x4 of 4096x4096 is 16384x16384; at most 89 million pixels are written. "
        "Give a smaller picture",
        "text.png": "text.png: not a PNG. Only the PNGs that Disco wrote hold their settings.",
        "gone.png": "gone.png: no such picture. Check the path; pictures are in images_out/.",
    }
    for name, fault in faults.items():
        assert said(capsys, "a.png", name, code=2) == ([], [fault])
    assert said(capsys, "a.png", "cut.png", code=2)[1][0].startswith("cut.png: a damaged PNG: ")
    assert said(capsys, "a.png", ".", code=2)[1] == [".: a folder, not a picture. Give one PNG file."]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["--model", "pocket_upscal"],
            "--model: upscale_model: no such upscaler, and no such file: pocket_upscal. "
            "Did you mean pocket_upscale?",
        ),
        (
            ["--device", "tpu"],
            '--set device=tpu: device: "tpu" is not allowed: write auto, cpu, cuda, cuda:0 or mps',
        ),
    ],
)
def test_wrong_options(words: list[str], fault: str, capsys: Capture) -> None:
    assert said(capsys, "a.png", *words, code=2) == ([], [fault])


def test_a_file_that_is_no_upscaler(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    file = POCKET / "pocket_secondary.safetensors"
    (line,) = said(capsys, "a.png", "--model", str(file), code=1)[1]
    assert line == (
        f"{file}: no SRVGG (compact) upscaler; other kinds need the Python package spandrel. "
        "Run `pip install -e '.[upscale]'` in Disco's folder"
    )
    assert said(capsys, code=2)[1][-1].endswith("the following arguments are required: PICTURE.png")


def test_an_interrupt_keeps_what_is_there(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("disco.cli.upscale._write", interrupted)
    assert said(capsys, "a.png", code=130)[1] == ["stopped at once; what is enlarged is kept"]
