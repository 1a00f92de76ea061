"""--plan: what it says of pocket runs, of recipes, of the original's default run; that it does nothing."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from disco.cli.plan import describe
from disco.errors import InputError
from disco.runs.new_run import RerenderRequest
from disco.settings.load import Run, load_runs, run_from_mapping
from disco.settings.model import KEYS
from tests.places import SETTINGS

SMALL = {"text_prompts": ["a lake"], "width_height": [64, 64], "steps": 20, "batch_name": "harbour"}


@pytest.fixture(autouse=True)
def nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, no weights, no caches of this machine; nothing is written."""

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan neither downloads nor loads")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr("safetensors.torch.load_file", forbidden)
    monkeypatch.setattr("safetensors.safe_open", forbidden)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DISCO_MODELS", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    yield
    made = {path for path in set(tmp_path.rglob("*")) - before if path.suffix not in (".yaml", ".png")}
    assert not made, "a plan writes nothing"


def of(*changes: dict[str, Any], images: Sequence[int] | None = None, out: str = "images_out") -> str:
    runs = [run_from_mapping({**SMALL, **change}) for change in changes or [{}]]
    return describe(runs, Path(out), images=images)


def part(plan: str, title: str) -> list[str]:
    """The lines under a title."""
    match = re.search(rf"^{title:10} (.*(?:\n {{11}}.*)*)", plan, re.MULTILINE)
    return [line.strip() for line in match[1].splitlines()] if match else []


def test_a_pocket_run() -> None:
    plan = of({"n_batches": 3, "batch_size": 2, "skip_steps": 5, "set_seed": 3})
    assert plan.startswith("== settings\npictures   3 of 64x64, 2 at a time\n")
    assert part(plan, "steps") == ["15 each (20 less skip_steps 5)"]
    assert part(plan, "prompts") == ['"a lake" weight 1: 2 of 75 tokens']
    assert part(plan, "files") == [
        "images_out/harbour/harbour(0)_0000.png ... harbour(0)_0002.png",
        "harbour(0)_settings.yaml, _progress.png, _status.json, _grid.png",
    ]
    assert re.match(r"about \d+\.\d GiB on (cpu|cuda|mps): weights ", part(plan, "memory")[0])
    assert part(plan, "to fetch") == ["nothing: all weights are here"]


def test_one_picture_has_no_grid() -> None:
    assert part(of({"n_batches": 1}, out="elsewhere"), "files") == [
        "elsewhere/harbour/harbour(0)_0000.png",
        "harbour(0)_settings.yaml, _progress.png, _status.json",
    ]


def test_the_number_is_the_next_free_one(tmp_path: Path) -> None:
    (tmp_path / "images_out" / "harbour").mkdir(parents=True)
    (tmp_path / "images_out" / "harbour" / "harbour(4)_0000.png").touch()
    assert "harbour(5)_0000.png" in of()
    for path in (tmp_path / "images_out" / "harbour", tmp_path / "images_out"):
        for file in path.glob("*.png"):
            file.unlink()
        path.rmdir()


@pytest.mark.parametrize("key", KEYS)
def test_every_key_appears_with_its_origin(key: str, plan_of_files: str) -> None:
    (line,) = [line for line in plan_of_files.splitlines() if line.startswith(f"    {key}: ")]
    assert re.search(r"  \[[^\]]+\]$", line), line


@pytest.fixture(scope="module")
def plan_of_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("layers")
    (folder / "base.yaml").write_text("width_height: [64, 64]\nsteps: 20\n")
    (folder / "top.yaml").write_text("extends: base.yaml\neta: 0.5\n")
    runs = load_runs([folder / "top.yaml"], overrides=["tv_scale=3"], prompt="a lake")
    return describe(runs, Path("images_out")).replace(str(folder), "")


@pytest.mark.parametrize(
    "line",
    [
        "    eta: 0.5  [/top.yaml:2]",
        "    steps: 20  [/base.yaml:2]",
        "    tv_scale: 3  [--set]",
        "    text_prompts: {0: ['a lake']}  [--prompt]",
        "    cut_overview: [6]*400+[2]*600  [pocket]",
        "    rand_mag: 0.05  [default]",
    ],
)
def test_origins(line: str, plan_of_files: str) -> None:
    assert line in plan_of_files.splitlines()


def test_cuts_of_each_phase() -> None:
    cuts = {"cut_overview": "[12]*400+[4]*600", "cut_innercut": 2, "cutn_batches": "[2]*800+[1]*200"}
    assert part(of(cuts), "cuts") == [
        "steps 1-8: (12 overview + 2 inner) x 2 batches x 2 CLIPs = 56 cutouts a step",
        "steps 9-16: (4 overview + 2 inner) x 2 batches x 2 CLIPs = 24 cutouts a step",
        "steps 17-20: (4 overview + 2 inner) x 1 batches x 2 CLIPs = 12 cutouts a step",
    ]


def test_what_skip_steps_leaves_unused() -> None:
    schedules = {"eta": {0: 0.1, 400: 0.7}, "clamp_max": "[0.02]*100+[0.03]*100+[0.05]*800"}
    plan = of({"skip_steps": 5, **schedules})
    assert "clamp_max: entries 0 to 298 (skip_steps); never used: 0.02, 0.03" in part(plan, "unused")
    assert "eta: entries 0 to 298 (skip_steps)" in part(plan, "unused")
    assert part(of({"skip_steps": 0, **schedules}), "unused") == []


def test_partials() -> None:
    files = part(of({"intermediate_saves": 3}), "files")
    assert files[1] == "images_out/harbour/partials/harbour(0)_0000-22%.png ... 3 partials of each picture"
    files = part(of({"intermediate_saves": [7], "intermediates_in_subfolder": False}), "files")
    assert files[1] == "images_out/harbour/harbour(0)_0000-007.png ... 1 partials of each picture"


def test_a_sweep_and_a_queue(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text(
        "text_prompts: [one]\nwidth_height: [64, 64]\nsweep: {eta: [0, 0.8]}\n"
        "---\ntext_prompts: [two]\nwidth_height: [64, 64]\n"
    )
    plan = describe(load_runs(["queue.yaml"]), Path("images_out"))
    assert re.findall(r"^== .*", plan, re.MULTILINE) == [
        "== queue.yaml (run 1 of 3)",
        "== queue.yaml (run 2 of 3)",
        "== queue.yaml [2] (run 3 of 3)",
    ]
    assert re.findall(r"^sweep .*", plan, re.MULTILINE) == ["sweep      eta: 0", "sweep      eta: 0.8"]
    assert plan.count("to fetch") == 1


def test_what_the_tokenizer_cuts_off() -> None:
    words = ["lake"] * 75 + ["and", "a", "boat"]
    plan = of({"text_prompts": [" ".join(words)]})
    assert part(plan, "prompts")[0].endswith('weight 1: 78 of 75 tokens, cut off: "and a boat"')


def test_prompts_of_every_kind(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save("lake.png")
    prompts = {0: ["a lake:2", {"text": "fog", "weight": {0: -1, 500: 0.5}}]}
    plan = of({"text_prompts": prompts, "image_prompts": ["lake.png:0.5"]})
    lines = part(plan, "prompts")
    assert lines[0] == '"a lake" weight 2: 2 of 75 tokens'
    assert lines[1].startswith('"fog" weight ') and lines[1].endswith(": 1 of 75 tokens")
    assert lines[2] == "picture lake.png weight 0.5"


def test_the_network_of_init_scale(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save("lake.png")
    plain, init = of(), of({"init_image": "lake.png"})
    assert "    lpips_model: pocket  [pocket]" in plain.splitlines()
    assert part(init, "to fetch") == ["nothing: all weights are here"]
    vgg = {"init_image": "lake.png", "lpips_model": "vgg"}
    assert part(of({**vgg, "init_scale": 0}), "to fetch") == ["nothing: all weights are here"]
    assert part(of(vgg), "to fetch")[0] == "vgg: vgg16-397923af.pth, about 553 MB"
    weights = [re.search(r"weights (\d+\.\d)", part(plan, "memory")[0]) for plan in (plain, of(vgg))]
    assert all(weights) and float(weights[1][1]) > float(weights[0][1])  # type: ignore[index]


def test_the_networks_of_animations_are_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    nothing = ["nothing: all weights are here"]
    assert part(of({"animation_mode": "3D"}), "to fetch") == nothing
    deep = {"animation_mode": "3D", "midas_depth_model": "dpt_large", "second_depth_model": "fastdepth"}
    names = [line.split(",")[0] for line in part(of(deep), "to fetch")]
    assert names[:3] == [
        "dpt_large: dpt-large.json",
        "dpt_large: dpt-large.safetensors",
        "fastdepth: fastdepth_7.onnx",
    ]
    assert part(of(deep | {"animation_mode": "2D"}), "to fetch") == nothing
    clip = tmp_path_factory.mktemp("clip")
    Image.new("RGB", (8, 8)).save(clip / "0.png")
    video = {"animation_mode": "Video Input", "video_init_path": str(clip), "extract_nth_frame": 1}
    assert part(of(video), "to fetch") == nothing
    (line, _) = part(of(video | {"flow_model": "raft_things"}), "to fetch")
    assert line == "raft_things: raft-things.pth, 21 MB"
    assert part(of(video | {"flow_model": "raft_things", "video_init_flow_blend": 0}), "to fetch") == nothing


def test_a_clip_whose_tokenizer_is_not_here() -> None:
    plan = of({"clip_models": ["pocket-conv", "ViT-B-16-SigLIP/webli"]})
    (line,) = part(plan, "prompts")
    assert "2 of 75 tokens (pocket-conv)" in line
    assert "tokens are counted once its tokenizer is downloaded (ViT-B-16-SigLIP/webli)" in line


def test_a_clip_that_only_open_clip_knows() -> None:
    plan = of({"clip_models": ["ViT-B-16/datacomp_xl_s13b_b90k"]})
    assert "ViT-B-16/datacomp_xl_s13b_b90k" in " ".join(part(plan, "to fetch"))
    assert "tokens" in " ".join(part(plan, "prompts"))


def test_a_custom_network(tmp_path: Path) -> None:
    (tmp_path / "mine.png").touch()  # any file: it is not opened
    custom = {"diffusion_model": "custom", "custom_path": "mine.png", "use_secondary_model": False}
    config = {"image_size": 64, "num_channels": 32, "attention_resolutions": "16", "num_head_channels": 16}
    plan = of({**custom, "custom_config": config, "clip_models": ["pocket-conv"]})
    assert part(plan, "to fetch") == ["nothing: all weights are here"]
    assert part(plan, "memory")[0].startswith("about ")


def test_images() -> None:
    plan = of({"n_batches": 5}, images=[1, 3, 4])
    assert "pictures   3 of 64x64, 1 at a time" in plan
    assert part(plan, "files")[0].endswith("harbour(0)_0001.png ... harbour(0)_0004.png")
    with pytest.raises(InputError) as caught:
        of({"n_batches": 5}, images=[4, 5, 9])
    assert str(caught.value) == "--images: 5, 9: this run has pictures 0 to 4 (n_batches: 5)"
    with pytest.raises(InputError, match="with compat: dd57 only picture 0 can be rendered alone"):
        of({"n_batches": 5, "compat": "dd57"}, images=[1])


def test_a_picture_that_is_rendered_again() -> None:
    run: Run = run_from_mapping({**SMALL, "n_batches": 5, "compat": "dd57"})
    plan = describe([run], Path("images_out"), again=RerenderRequest(run, 3, (3,), {}, {}))
    assert "pictures   1 of 64x64, 1 at a time" in plan
    assert part(plan, "files")[0] == "images_out/harbour/harbour(0)_0003.png"


def test_notices_are_there() -> None:
    assert any("randomize_class" in line for line in part(of({"randomize_class": False}), "notices"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_here() -> None:
    """A run can be planned on another machine than the one that will render it."""
    (line, *_) = part(of({"device": "cuda:1"}), "memory")
    assert line.startswith("about ") and " GiB on cuda:1: weights " in line
    assert line.endswith("; device: cuda:1: the number of CUDA GPUs here is 0")


def test_what_would_need_less_memory() -> None:
    """Only what is not done yet."""
    large = {
        "diffusion_model": "512x512_diffusion_uncond_finetune_008100",
        "width_height": [2048, 2048],
        "device": "cuda:7",
    }
    said = "to use less: a smaller width_height"
    assert part(of(large), "memory")[-1] == f"{said}, fewer cutn_batches, clip_batch: 16 (a little slower)"
    assert part(of({**large, "clip_batch": 8}), "memory")[-1] == said
    assert part(of({**large, "device": "cpu"}), "memory")[-1] == said
    slow = {**large, "clip_batch": 16, "batch_size": 2, "use_secondary_model": False}
    more = "batch_size: 1, use_secondary_model: true (a little less exact)"
    assert part(of(slow), "memory")[-1] == f"{said}, {more}"


def test_the_originals_default_run() -> None:
    plan = describe(load_runs([SETTINGS / "disco57.yaml"]), Path("images_out"))
    assert "pictures   50 of 1280x768, 1 at a time" in plan
    assert part(plan, "steps") == ["240 each (250 less skip_steps 10)"]
    assert part(plan, "cuts") == [
        "steps 1-90: (12 overview + 4 inner) x 4 batches x 3 CLIPs = 192 cutouts a step",
        "steps 91-240: (4 overview + 12 inner) x 4 batches x 3 CLIPs = 192 cutouts a step",
    ]
    unused = part(plan, "unused")
    assert [line.split(":")[0] for line in unused] == ["cut_overview", "cut_innercut", "cut_icgray_p"]
    assert all(line.endswith("entries 0 to 42 (skip_steps)") for line in unused)
    assert "33 of 75 tokens" in part(plan, "prompts")[0]
    assert part(plan, "prompts")[-1] == '"yellow color scheme" weight 1: 3 of 75 tokens'
    fetched = "\n".join(part(plan, "to fetch"))
    assert re.search(r"512x512_diffusion_uncond_finetune_008100\S*,? about 2\.2 GB", fetched), fetched
    assert re.search(r"secondary_model_imagenet_2\S*,? about 5\d MB", fetched), fetched
    assert all(name in fetched for name in ("ViT-B-32.pt", "ViT-B-16.pt", "RN50.pt"))
    assert re.search(r"in all .*3\.\d GB", fetched), fetched
    assert re.match(r"about \d\d\.\d GiB on ", part(plan, "memory")[0])
