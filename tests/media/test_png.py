"""The settings chunk of a PNG: what goes in comes out, and every kind of damage is told apart."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from disco.errors import InputError
from disco.media.png import check_png, png_size, read_metadata, with_metadata

AGAIN = " Render the picture again."
UPLOADS = "Sites and chat programs that re-encode pictures drop it: use the file that the run wrote."


def png(width: int = 6, height: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)).save(
        buffer, format="PNG"
    )
    return buffer.getvalue()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    return path


def with_raw_text(body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return png()[:33] + chunk + png()[33:]


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_metadata(path)
    return str(caught.value)


def test_metadata_returns_and_the_pixels_stay(tmp_path: Path) -> None:
    metadata = {
        "text_prompts": {"0": ["Ü 漢字 🌊\0\n"]},
        "seed": 2**53 + 1,
        "eta": 0.1,
        "state": "x" * 100_000,
    }
    path = written(tmp_path, with_metadata(png(), metadata))
    assert read_metadata(path) == metadata
    assert read_metadata(str(path)) == metadata
    check_png(path)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(io.BytesIO(png()))))


def test_other_programs_can_read_the_chunk(tmp_path: Path) -> None:
    path = written(tmp_path, with_metadata(png(), {"a": "é"}))
    with Image.open(path) as picture:
        assert picture.text["disco"] == '{"a": "é"}'  # type: ignore[attr-defined]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(alphabet=st.characters(), max_size=5), json_values, max_size=3))
def test_any_json_returns(tmp_path_factory: Any, metadata: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "picture.png"
    path.write_bytes(with_metadata(png(), metadata))
    assert read_metadata(path) == metadata


def test_a_lone_surrogate_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = written(tmp_path, with_metadata(png(), {"prompt": "caf\udce9"}))
    assert read_metadata(path) == {"prompt": "caf\udce9"}


def test_a_chunk_of_another_name_is_not_ours(tmp_path: Path) -> None:
    path = written(tmp_path, with_raw_text(b'discotheque\0\0\0\0\0{"a": 1}'))
    assert message(path) == f"{path}: a PNG, but without settings of Disco in it. {UPLOADS}"


def test_an_unpacked_chunk_is_read_too(tmp_path: Path) -> None:
    assert read_metadata(written(tmp_path, with_raw_text(b'disco\0\0\0en\0title\0{"a": 1}'))) == {"a": 1}


def test_missing_and_wrong_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "none.png"
    assert message(path) == f"{path}: no such picture. Check the path; pictures are in images_out/."
    assert message(tmp_path) == f"{tmp_path}: a folder, not a picture. Give one PNG file."
    path = written(tmp_path, b"")
    assert message(path) == f"{path}: an empty file, not a PNG.{AGAIN}"
    path = written(tmp_path, b"\xff\xd8\xff JPEG")
    assert message(path) == f"{path}: not a PNG. Only the PNGs that Disco wrote hold their settings."
    path = written(tmp_path, png())
    assert message(path) == f"{path}: a PNG, but without settings of Disco in it. {UPLOADS}"


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = with_metadata(png(), {"a": 1})
    for length in range(8, len(whole)):
        path = written(tmp_path, whole[:length])
        with pytest.raises(InputError) as caught:
            check_png(path)
        assert str(caught.value) == f"{path}: a damaged PNG: it ends after {length} bytes.{AGAIN}"


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    whole = with_metadata(png(), {"a": 1})
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        path = written(tmp_path, bytes(damaged))
        with pytest.raises(InputError):
            check_png(path)


def test_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    damaged = bytearray(png())
    damaged[20] ^= 1
    path = written(tmp_path, bytes(damaged))
    assert message(path) == f"{path}: a damaged PNG: wrong checksum at byte 8.{AGAIN}"


def test_a_size_at_a_glance(tmp_path: Path) -> None:
    whole = png(700, 3)
    assert png_size(written(tmp_path, whole)) == (700, 3)
    assert png_size(written(tmp_path, whole + b"something after the end")) == (700, 3)
    damaged = {
        whole[:-1]: f"a damaged PNG: it ends after {len(whole) - 1} bytes.{AGAIN}",
        whole[:20]: f"a damaged PNG: it ends after 20 bytes.{AGAIN}",
        b"": f"an empty file, not a PNG.{AGAIN}",
        b"GIF89a" + whole: "not a PNG. Only the PNGs that Disco wrote hold their settings.",
    }
    for data, why in damaged.items():
        path = written(tmp_path, data)
        with pytest.raises(InputError) as caught:
            png_size(path)
        assert str(caught.value) == f"{path}: {why}"
    with pytest.raises(InputError, match="no such picture"):
        png_size(tmp_path / "none.png")


def test_a_png_without_pixels_is_no_picture(tmp_path: Path) -> None:
    path = written(tmp_path, png()[:33] + png()[-12:])
    with pytest.raises(InputError, match="a damaged PNG: no pixels in it"):
        check_png(path)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"disco\0\0\0\0\0{", "Expecting property name enclosed in double quotes"),
        (b"disco\0\0\0\0\0[1]", "no mapping"),
        (b"disco\0\0\0\0\0\xff\xfe\xff", "decode"),
        (b"disco\0", "too short"),
        (b"disco\0\x01\0\0\0not zlib", "incorrect header check"),
        (b"disco\0\x01\0\0\0" + zlib.compress(b'{"a": 1}')[:-6], "it ends early"),
        (b"disco\0\x01\0\0\0" + zlib.compress(b" " * (17 << 20)), "more than 16 MiB of text"),
        (b"disco\0\0\0\0\0" + b"[" * 200_000, "recursion"),
    ],
)
def test_a_damaged_chunk_says_why(tmp_path: Path, body: bytes, why: str) -> None:
    path = written(tmp_path, with_raw_text(body))
    text = message(path)
    assert text.startswith(f"{path}: damaged settings in this picture (")
    assert why in text
    assert text.endswith(f"). {UPLOADS}")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with open(path, "wb") as file:
        file.truncate((1 << 30) + 1)  # sparse: takes no room
    assert (
        message(path)
        == f"{path}: cannot be read: it has over {1 << 30} bytes, the most that is read of such a file."
    )


def test_reading_settings_needs_neither_torch_nor_pil() -> None:
    code = "import sys, disco.media.png; assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
