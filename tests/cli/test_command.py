"""The command line: from argv to a PNG, exit codes, and what is said when something is wrong."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from disco.__main__ import main
from disco.cli import command, verbs
from disco.media.images import read_pixels
from disco.media.png import read_metadata, with_metadata
from tests.import_samples import DISCO
from tests.places import ROOT
from tests.small_run import SMALL, small_networks

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, and fakes in place of networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("disco.rendering.api.load_for", lambda run, **_: small_networks())
    return tmp_path


@pytest.fixture
def small() -> str:
    return recipe("small.yaml", n_batches=2)


def recipe(name: str, **changes: Any) -> str:
    Path(name).write_text(yaml.safe_dump({**SMALL, "steps": 4, **changes}))
    return name


def refused(capsys: Capture, *words: str, code: int = 2) -> str:
    """What is said on stderr; argparse leaves by SystemExit."""
    try:
        got: Any = main(words)
    except SystemExit as error:
        got = error.code
    out, err = capsys.readouterr()
    assert (got, out) == (code, ""), err
    assert "Traceback" not in err
    return err.rstrip("\n")


def files(folder: Path = Path()) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run_py(*words: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        **options,
    )


# help


def test_no_argument_is_help_and_the_recipes(capsys: Capture, here: Path) -> None:
    (here / "settings").mkdir()
    (here / "settings" / "sea.yaml").write_text(
        "# yaml-language-server: $schema=schema.json\n# Waves in\n# a storm. More: python run.py\n\n# no"
    )
    (here / "settings" / "bare.yaml").write_text("steps: 5\n# never\n")
    (here / "settings" / "default.yaml").write_text("# All of them\n")
    (here / "settings" / "broken.yaml").write_bytes(b"\xff\xfe")
    (here / "settings" / "folder.yaml").mkdir()
    (here / "settings" / "recipes").mkdir()
    (here / "settings" / "recipes" / "head.yaml").write_text("# A head: python run.py")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python run.py SETTINGS... [options] ") and '--prompt "one sentence"' in out
    assert re.search(r"^  settings/sea.yaml +Waves in a storm\.$", out, re.MULTILINE)
    assert re.search(r"^  settings/recipes/head.yaml +A head$", out, re.MULTILINE)
    assert "settings/bare.yaml" in out and "never" not in out
    assert "settings/default.yaml lists every setting." in out and "folder.yaml" not in out


def test_recipes_are_listed_from_another_folder_too(capsys: Capture) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert f"{ROOT / 'settings' / 'batch.yaml'} " in out and "Four stills by the networks" in out


def test_help(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for option in ("prompt", "set", "out", "device", "images", "plan", "resume", "quiet"):
        assert f"--{option}" in out


# a run


def test_render(small: str, here: Path, capsys: Capture) -> None:
    assert main([small, "--out", "here", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["here/small/small(0)_0000.png", "here/small/small(0)_0001.png"]
    assert err == ""
    names = ["0000.png", "0001.png", "grid.png", "progress.png", "settings.yaml", "status.json"]
    assert [name for name in files() if ".state" not in name] == [
        *(f"here/small/small(0)_{name}" for name in names),
        "small.yaml",
    ]
    assert main([small, "--quiet"]) == 0
    assert Path("images_out/small/small(0)_0000.png").exists()
    capsys.readouterr()
    assert main(["here/small/small(0)_settings.yaml", "--out", "here", "--quiet"]) == 0
    assert capsys.readouterr().out.split()[0] == "here/small/small(1)_0000.png"
    same = [read_pixels(Path(f"here/small/small({run})_0001.png")) for run in (0, 1)]
    assert (same[0] == same[1]).all()


def test_what_is_no_terminal_gets_lines(small: str, capsys: Capture) -> None:
    assert main([small]) == 0
    out, err = capsys.readouterr()
    assert [line.rpartition("_")[2] for line in out.split()] == ["0000.png", "0001.png", "grid.png"]
    assert "starting run 0 in images_out/small: 2 pictures" in err and "\r" not in err + out


def test_several_files_and_overrides(small: str, capsys: Capture) -> None:
    other = recipe("other.yaml", batch_name="other")
    assert main([small, other, "--set", "n_batches=1", "--set", "set_seed=9", "--quiet"]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert read_metadata("images_out/other/other(0)_0000.png")["seed"] == 9


def test_prompt_replaces_the_prompts(small: str) -> None:
    assert main([small, "--prompt", "green", "--images", "0", "--quiet"]) == 0
    metadata = read_metadata("images_out/small/small(0)_0000.png")
    assert metadata["settings"]["text_prompts"] == {"0": ["green"]}


def test_prompt_alone_is_the_default_recipe() -> None:
    sizes = ["--set", "width_height=[32,32]", "--set", "steps=3", "--set", "n_batches=1"]
    assert main(["--prompt", "a lake", *sizes, "--quiet"]) == 0
    metadata = read_metadata("images_out/TimeToDisco/TimeToDisco(0)_0000.png")
    assert metadata["settings"]["diffusion_model"] == "pocket"
    assert metadata["settings"]["text_prompts"] == {"0": ["a lake"]}


def test_images(small: str, capsys: Capture) -> None:
    assert main([small, "--set", "n_batches=6", "--images", "0,2-3", "--quiet"]) == 0
    names = [line[-8:] for line in capsys.readouterr().out.split()]
    assert names == ["0000.png", "0002.png", "0003.png"]


@pytest.mark.parametrize(
    "text, pictures",
    [("0", [0]), ("0,2-4", [0, 2, 3, 4]), (" 3 , 1 - 2 ", [1, 2, 3]), ("2,2,1-2", [1, 2]), ("5-5", [5])],
)
def test_images_are_read(text: str, pictures: Sequence[int]) -> None:
    assert command._images(text) == pictures


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "'': write picture numbers like 0,2-4"),
        ("a", "'a': write picture numbers like 0,2-4"),
        ("1,,2", "'': write picture numbers like 0,2-4"),
        ("4-2", "'4-2': write picture numbers like 0,2-4"),
        ("1-2-3", "'1-2-3': write picture numbers like 0,2-4"),
        ("1.5", "'1.5': write picture numbers like 0,2-4"),
        ("0-9999999", "'0-9999999': more than a million pictures"),
    ],
)
def test_wrong_images(text: str, said: str, small: str, capsys: Capture) -> None:
    err = refused(capsys, small, f"--images={text}")
    assert err.splitlines()[-1] == f"run.py: error: argument --images: {said}"


def test_images_that_the_run_has_not(small: str, capsys: Capture) -> None:
    said = "--images: 2, 7: this run has pictures 0 to 1 (n_batches: 2)"
    assert refused(capsys, small, "--images", "0,2,7") == said
    said = refused(capsys, small, "--images", "1", "--set", "compat=dd57")
    assert said.startswith("--images: with compat: dd57 only picture 0 can be rendered alone, since the ")
    said = "--images: not with --resume, which goes on with the pictures of that run"
    assert refused(capsys, small, "--images", "1", "--resume") == said
    assert files() == ["small.yaml"]


# a finished picture


def test_a_picture_renders_again_pixel_for_pixel(small: str, capsys: Capture) -> None:
    assert main([small, "--quiet"]) == 0
    picture = "images_out/small/small(0)_0001.png"
    assert main([picture, "--quiet"]) == 0
    again = Path("images_out/small/small(1)_0001.png")
    assert capsys.readouterr().out.split()[-1] == str(again)
    assert (read_pixels(again) == read_pixels(Path(picture))).all()
    assert main([picture, "--set", "clip_guidance_scale=20000", "--out", "varied", "--quiet"]) == 0
    varied = read_pixels(Path("varied/small/small(0)_0001.png"))
    assert (varied != read_pixels(Path(picture))).any()
    assert main([picture, "--plan"]) == 0
    plan = capsys.readouterr().out
    assert "pictures   1 of 32x32, 1 at a time" in plan and "small(2)_0001.png" in plan


def test_a_picture_comes_alone(small: str, capsys: Capture) -> None:
    said = "a.png: render one PNG at a time; with it go --set, --out, --device, --plan, --quiet"
    for words in (["b.png"], ["--images", "0"], ["--resume"], ["--prompt", "sea"], [small]):
        assert refused(capsys, "a.png", *words) == said


def test_pictures_without_settings(here: Path, capsys: Capture) -> None:
    from PIL import Image

    assert "gone.png" in refused(capsys, "gone.png")
    Image.new("RGB", (4, 4)).save("plain.png")
    said = refused(capsys, "plain.png")
    assert said.startswith("plain.png: a PNG, but without settings of Disco in it.")
    assert refused(capsys, "show", "plain.png") == said
    Path("torn.png").write_bytes(Path("plain.png").read_bytes()[:40])
    assert refused(capsys, "torn.png").startswith("torn.png: ")
    Path("new.png").write_bytes(with_metadata(Path("plain.png").read_bytes(), {"format": 99}))
    said = "new.png: settings of format 99, known here is 1. Use the version of Disco that wrote it."
    assert refused(capsys, "new.png") == refused(capsys, "show", "new.png") == said
    metadata = {"format": 1, "settings": {}, "seed": 5, "batch": [0]}
    Path("lack.png").write_bytes(with_metadata(Path("plain.png").read_bytes(), metadata))
    said = "lack.png: the settings in this picture lack 'picture'. It was changed after Disco wrote it"
    said += ": use the file that the run wrote."
    assert refused(capsys, "lack.png") == refused(capsys, "show", "lack.png") == said


def test_show(small: str, here: Path, capsys: Capture) -> None:
    from PIL import Image

    Image.new("RGB", (32, 32)).save("init.png")
    assert main([small, "--set", "init_image=init.png", "--quiet"]) == 0
    capsys.readouterr()
    os.remove("init.png")  # shown all the same
    assert main(["show", "images_out/small/small(0)_0001.png"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("# images_out/small/small(0)_0001.png: picture 1 of seed 5\n") and err == ""
    assert "# weights: {'toy': '000" in out and "# inputs: {'init.png': " in out
    shown = yaml.safe_load(out)
    assert shown["steps"] == 4 and shown["init_image"] == "init.png"
    Image.new("RGB", (32, 32)).save("init.png")
    Path("shown.yaml").write_text(out)
    assert main(["shown.yaml", "--out", "again", "--quiet"]) == 0
    same = [read_pixels(Path(f"{out}/small/small(0)_0001.png")) for out in ("images_out", "again")]
    assert (same[0] == same[1]).all()


# resume


def test_resume_where_there_is_nothing(small: str, here: Path, capsys: Capture) -> None:
    assert refused(capsys, "--resume") == "images_out: no unfinished run. Runs here: none"
    assert (
        refused(capsys, small, "--resume")
        == "images_out/small: no unfinished run to resume. Runs here: none."
    )
    assert files() == ["small.yaml"]
    assert main([small, "--quiet"]) == 0
    capsys.readouterr()
    lines = refused(capsys, "--resume").splitlines()
    assert lines[0] == "images_out: no unfinished run. Runs here:"
    assert lines[1].startswith(
        "  small: run 0: finished, 2 of 2 pictures (images_out/small/small(0)_settings"
    )
    assert "no run 7 to resume" in refused(capsys, small, "--resume=7")


def test_a_finished_run_is_no_error(small: str, capsys: Capture) -> None:
    assert main([small, "--quiet"]) == 0
    before = files()
    capsys.readouterr()
    assert main([small, "--resume", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("small(0) is finished: nothing to resume.")
    assert main(["--resume", small, "--quiet"]) == 0, "the file is no run's number"
    assert files() == before


def test_resume_with_other_settings(small: str, capsys: Capture) -> None:
    assert main([small, "--quiet"]) == 0
    capsys.readouterr()
    said = refused(capsys, small, "--resume", "--set", "eta=0.1", "--set", "n_batches=3")
    assert said.splitlines() == [
        "run 0 of images_out/small was started with other settings:",
        "  eta: saved 0.8, now 0.1",
        "Undo the change, or start a new run without --resume and resume_run.",
    ]


@pytest.mark.parametrize("text", ["newest", "-1", "1.5"])
def test_wrong_run_numbers(text: str, small: str, capsys: Capture) -> None:
    said = f"run.py: error: argument --resume: {text!r}: write --resume or --resume=NUMBER of a run"
    assert refused(capsys, small, f"--resume={text}").splitlines()[-1] == said


# what is wrong


def test_exit_2_and_exact_words(small: str, here: Path, capsys: Capture) -> None:
    assert (
        refused(capsys, "smal.yaml")
        == f"smal.yaml: no such file (looked in {here}). Did you mean small.yaml?"
    )
    (here / "folder").mkdir()
    assert refused(capsys, "folder").startswith("folder: ")
    said = "--set batch_size: batch_size: write --set key=value, like --set steps=100"
    assert refused(capsys, small, "--set", "batch_size") == said
    said = "--set stepz=5: stepz: no such setting. Did you mean steps?"
    assert refused(capsys, small, "--set", "stepz=5") == said
    Path("bad.yaml").write_text("steps: none\nclip_guidence_scale: 5\n")
    assert refused(capsys, "bad.yaml").splitlines() == [
        'bad.yaml:1: steps: "none" is not allowed: write a whole number from 2 to 4000',
        "bad.yaml:2: clip_guidence_scale: no such setting. Did you mean clip_guidance_scale?",
    ]
    said = "no settings file and no --prompt: `python run.py` alone lists the recipes"
    assert refused(capsys, "--quiet") == said
    assert refused(capsys, small, "--pan").splitlines()[-1] == "run.py: error: unrecognized arguments: --pan"
    assert "unrecognized arguments" in refused(capsys, small, "--resum")
    assert "expected one argument" in refused(capsys, small, "--out")
    assert sorted(files()) == ["bad.yaml", "small.yaml"]


def test_devices(small: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert refused(capsys, small, "--device", "cuda:3") == "device: cuda:3: the number of CUDA GPUs here is 1"
    assert "device" in refused(capsys, small, "--device", "tpu")
    assert files() == ["small.yaml"], "nothing was made"
    assert main([small, "--device", "cpu", "--images", "0", "--quiet"]) == 0
    assert read_metadata("images_out/small/small(0)_0000.png")["machine"]["device"] == "cpu"


def test_exit_1_for_weights(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from disco.rendering import prepare as context

    monkeypatch.setattr("disco.rendering.api.load_for", context.load_for)
    Path("mine.pt").write_bytes(b"torn")
    custom = recipe("a.yaml", diffusion_model="custom", custom_path="mine.pt", width_height=[64, 64])
    assert "mine.pt" in refused(capsys, custom, "--quiet", code=1)
    assert "mine.pt" in refused(capsys, "--resume", "--quiet", code=1), "and it stays so"


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_exit_1_for_a_folder_that_cannot_be_written(small: str, here: Path, capsys: Capture) -> None:
    (here / "file").touch()
    said = refused(capsys, small, "--out", "file", "--quiet", code=1)
    assert said.startswith("file") and "a file stands where a folder is needed" in said
    if os.geteuid() != 0:
        (here / "locked").mkdir(mode=0o500)
        said = refused(capsys, small, "--out", "locked", "--quiet", code=1)
        assert "no permission to write there" in said
    assert main([small, "--out", "fine", "--images", "0", "--quiet"]) == 0


def test_plan_loads_and_writes_nothing(small: str, capsys: Capture) -> None:
    assert main([small, "--plan", "--images", "1"]) == 0
    assert capsys.readouterr().out.startswith("== small.yaml\npictures   1 of 32x32, 1 at a time\n")
    assert files() == ["small.yaml"]


# verbs


def test_import(here: Path, capsys: Capture) -> None:
    assert main(["import", str(DISCO), "-o", "new.yaml"]) == 0
    out, err = capsys.readouterr()
    assert out == "new.yaml\n"
    assert re.findall(r"^(\w+): \d+$", err, re.MULTILINE) == ["mapped", "changed", "dropped"]
    before = Path("new.yaml").read_bytes()
    said = "new.yaml: exists already; give another name with -o"
    assert refused(capsys, "import", str(DISCO), "-o", "new.yaml").splitlines()[-1] == said
    assert Path("new.yaml").read_bytes() == before
    assert main(["import", str(DISCO)]) == 0
    assert capsys.readouterr().out == before.decode()
    assert main(["new.yaml", "--plan"]) == 0
    assert "compat: dd57" in capsys.readouterr().out


def test_wrong_imports(small: str, capsys: Capture) -> None:
    assert refused(capsys, "import", "gone.txt") == "gone.txt: no such file"
    said = "no other tool's settings file was recognised"
    assert said in refused(capsys, "import", small) and "OLD" in refused(capsys, "import")
    said = refused(capsys, "import", str(DISCO), "-o", "no/such/new.yaml", code=1)
    assert said.splitlines()[-1].startswith("no/such/new.yaml: cannot be written: ")


def test_models(capsys: Capture) -> None:
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("downloads go to ")
    assert re.search(r"^  pocket +bundled +here +MIT", out, re.MULTILINE)
    assert re.search(r"^  256x256_diffusion_uncond +2\.2 GB", out, re.MULTILINE)
    assert main(["models", "verify", "pocket", "pocket-conv"]) == 0
    assert capsys.readouterr().out.startswith("pocket: ")
    assert main(["models", "verify"]) == 0
    assert "pocket-vit: " in capsys.readouterr().out
    assert main(["models", "fetch", "pocket"]) == 0
    assert "pocket_diffusion.safetensors" in capsys.readouterr().out
    said = "no such network: pockt. Did you mean pocket?"
    assert refused(capsys, "models", "fetch", "pocket-vit", "pockt") == said
    assert refused(capsys, "models", "verify", "pockt") == said
    for words in ([], ["get"], ["fetch"]):
        assert "run.py models: error: " in refused(capsys, "models", *words) or words == ["fetch"]


# real processes


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """`python /somewhere/run.py` with the pocket networks, from another folder than the repository."""
    folder = tmp_path_factory.mktemp("real")
    size = {"width_height": [32, 32], "steps": 3, "cutn_batches": 1, "cut_overview": 1, "cut_innercut": 1}
    settings = {"text_prompts": ["a lake", "gold:0.5"], "n_batches": 2, "batch_size": 2, "batch_name": "real"}
    (folder / "real.yaml").write_text(yaml.safe_dump({**size, **settings}))
    return folder, run_py("real.yaml", "--out", "pictures", "--quiet", cwd=folder)


def test_run_py_to_a_picture(real: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = real
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"pictures/real/real(0)_000{k}.png" for k in (0, 1)]
    shown = [name for name in files(folder) if ".state" not in name]
    assert shown[0] == "pictures/real/real(0)_0000.png" and shown[-1] == "real.yaml" and len(shown) == 7
    metadata = read_metadata(folder / "pictures" / "real" / "real(0)_0001.png")
    assert len(metadata["weights"]) >= 4 and all(len(sha) == 64 for sha in metadata["weights"].values())
    status = json.loads((folder / "pictures" / "real" / "real(0)_status.json").read_text())
    assert status["state"] == "finished" and status["nan_steps"] == 0


def test_run_py_renders_a_picture_again(
    real: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, with another number of threads allowed to differ in the last bits only."""
    from disco.rendering import prepare as context

    folder, _ = real
    monkeypatch.setattr("disco.rendering.api.load_for", context.load_for)
    monkeypatch.chdir(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["pictures/real/real(0)_0001.png", "--out", "again", "--quiet"]) == 0
    finally:
        torch.set_num_threads(threads)
    same = [read_pixels(folder / out / "real" / "real(0)_0001.png") for out in ("pictures", "again")]
    assert (same[0] == same[1]).all()


def test_a_bad_file_is_refused_before_torch_is_imported(here: Path) -> None:
    """Far under two seconds; no traceback."""
    Path("bad.yaml").write_text("stepz: 5\n")
    code = (
        "import sys, time, disco.__main__\n"
        "code = disco.__main__.main(['bad.yaml'])\n"
        "assert not {'torch', 'numpy', 'PIL', 'open_clip', 'tqdm'} & set(sys.modules), sys.modules\n"
        "assert time.process_time() < 2\n"
        "sys.exit(code)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "bad.yaml:1: stepz: no such setting. Did you mean steps?\n" and done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no head")
@pytest.mark.parametrize("words", ["", "models list", "--help"])
def test_a_reader_that_leaves_early(words: str) -> None:
    command = f'"{sys.executable}" "{ROOT / "run.py"}" {words} | true; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.returncode == 0


def test_run_py_and_the_module_are_the_same_command() -> None:
    commands = ([str(ROOT / "run.py")], ["-m", "disco"])
    helps = [
        subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for words in commands
    ]
    assert helps[0] == helps[1] and helps[0].startswith("usage: ")
    assert (ROOT / "run.py").read_text().endswith("raise SystemExit(main())\n")


def test_the_installed_command() -> None:
    script = Path(sys.executable).parent / "disco"
    if not script.exists():
        pytest.skip("not installed")
    done = subprocess.run([script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: ")


def test_a_torch_that_cannot_be_imported_is_one_sentence(
    small: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert main([small]) == 1
    said = capsys.readouterr().err
    cure = "Install both anew: pip install --force-reinstall torch torchvision"
    assert said == f"torch cannot be imported (import of torchvision halted; None in sys.modules). {cure}\n"
    assert not Path("images_out").exists()


def test_resume_takes_the_number_after_a_blank(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command._bare_words(["--resume", "3", small]) == ["--resume=3", small]
    assert command._bare_words([small, "--resume"]) == [small, "--resume=latest"]
    assert command._bare_words(["--resume", small, "--ray", "3"]) == ["--resume=latest", small, "--ray=", "3"]
    Path("3").write_text("steps: 3\n")
    assert command._bare_words(["--resume", "3"]) == ["--resume=latest", "3"]


def test_help_has_no_colours_where_argparse_would_add_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 has the parameter color."""
    plain, asked = argparse.ArgumentParser.__init__, []

    def with_colour(self: argparse.ArgumentParser, *, color: bool = True, **options: Any) -> None:
        asked.append(color)
        plain(self, **options)

    monkeypatch.setattr(argparse.ArgumentParser, "__init__", with_colour)
    for words in ([], ["show"], ["import"], ["models"], ["video", "x"], ["timelapse", "x"], ["upscale"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
    assert len(asked) >= 10 and not any(asked)  # models has parsers of its own verbs


def test_help_shows_which_values_may_be_left_out(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "--resume[=RUN]" in said and "--ray[=ADDRESS]" in said and "--out DIR" in said


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_list_of_models_fits_its_terminal(
    columns: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(verbs, "is_terminal", lambda stream: True)
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert max(map(len, lines)) <= columns
    assert lines[1].startswith("common: ") and lines[2].split()[:3] == ["pocket", "bundled", "here"]
