"""Settings -> pictures with small fakes: what is written, sameness, seeds, errors in the middle of a run."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import disco
from disco.errors import InputError, RunError, SettingsError, WeightsError
from disco.events import (
    NetworksLoaded,
    Notice,
    PartialSaved,
    PictureFinished,
    PictureStarted,
    RunFinished,
    RunStarted,
    StepDone,
)
from disco.files import atomic
from disco.media.images import png_bytes, read_metadata
from disco.networks.required import required
from disco.rendering.prepare import perlin_start
from disco.runs.folder import RunFolder
from disco.runs.new_run import read_again
from disco.settings.load import load_runs, run_from_mapping
from tests.small_run import SMALL, events_of, finished_paths, pictures, rendered, same, small_networks


def test_a_run_writes_its_pictures_settings_status_and_grid(tmp_path):
    rendered(tmp_path, {"intermediate_saves": 2})
    names = sorted(path.name for path in (tmp_path / "small").iterdir() if path.name != ".state")
    assert names == [
        "partials",
        "small(0)_0000.png",
        "small(0)_0001.png",
        "small(0)_0002.png",
        "small(0)_grid.png",
        "small(0)_progress.png",
        "small(0)_settings.yaml",
        "small(0)_status.json",
    ]
    assert len(list((tmp_path / "small" / "partials").iterdir())) == 6
    status = json.loads((tmp_path / "small" / "small(0)_status.json").read_text())
    assert (status["state"], status["pictures"], status["of"]) == ("finished", 3, 3)
    assert not list((tmp_path / "small" / ".state" / "0").glob("checkpoint*"))


def test_the_events_come_in_order(tmp_path):
    events = list(events_of(tmp_path, {"n_batches": 1, "intermediate_saves": 1}))
    kinds = [type(event) for event in events if not isinstance(event, Notice)]
    assert kinds[:2] == [RunStarted, PictureStarted]
    assert kinds[2:-2] == [StepDone] * 5 + [PartialSaved] + [StepDone] * 5
    assert kinds[-2:] == [PictureFinished, RunFinished]
    step = next(event for event in events if isinstance(event, StepDone))
    assert (step.step, step.n, step.preview()[0].shape) == (0, 10, (32, 32, 3))
    assert set(step.losses()) == {"pocket-conv", "range", "nan"} and step.losses()["nan"] == [0.0]
    assert step.seconds_left is not None


def test_guidance_paints_what_the_prompt_says(tmp_path):
    """The sign, through everything: a red prompt gives a redder picture than a blue one."""
    strong = {"clip_guidance_scale": 20000, "n_batches": 1, "clamp_max": 1}
    rendered(tmp_path, strong)
    rendered(tmp_path, strong | {"text_prompts": "blue"})
    red, blue = pictures(tmp_path)[0].mean((0, 1)), pictures(tmp_path, run=1)[0].mean((0, 1))
    assert red[0] - red[2] > 30 and blue[2] - blue[0] > 30


def test_picture_k_is_the_same_alone(tmp_path):
    rendered(tmp_path / "all")
    rendered(tmp_path / "alone", images=[2])
    assert list(pictures(tmp_path / "alone")) == [2]
    assert np.array_equal(pictures(tmp_path / "all")[2], pictures(tmp_path / "alone")[2])


def test_pictures_rendered_together_agree_with_those_alone(tmp_path):
    rendered(tmp_path / "one")
    rendered(tmp_path / "two", {"batch_size": 2})
    one, two = pictures(tmp_path / "one"), pictures(tmp_path / "two")
    assert one.keys() == two.keys() == {0, 1, 2}
    for k in one:
        assert np.mean(np.abs(one[k].astype(int) - two[k]) <= 2) >= 0.99


def test_pictures_and_seeds_differ(tmp_path):
    rendered(tmp_path)
    rendered(tmp_path, {"set_seed": 6})
    a, b = pictures(tmp_path), pictures(tmp_path, run=1)
    assert not np.array_equal(a[0], a[1]) and not np.array_equal(a[0], b[0])


def test_a_random_seed_is_drawn_saved_and_repeatable(tmp_path):
    rendered(tmp_path, {"set_seed": "random_seed", "n_batches": 1})
    (run,) = load_runs([tmp_path / "small" / "small(0)_settings.yaml"])
    assert isinstance(run.settings.set_seed, int)
    again = finished_paths(disco.render(run, out=tmp_path, networks=small_networks()))
    assert again == [tmp_path / "small" / "small(1)_0000.png"]
    assert same(pictures(tmp_path), pictures(tmp_path, run=1))


@pytest.mark.parametrize("compat", ["fixed", "dd57"])
def test_a_picture_renders_again_from_its_png_bit_for_bit(tmp_path, compat):
    values = {"compat": compat, "perlin_init": True, "perlin_mode": "gray", "skip_steps": 4}
    rendered(tmp_path, values)
    again = read_again(tmp_path / "small" / "small(0)_0002.png")
    list(disco.render(again.run, out=tmp_path / "again", again=again, networks=small_networks()))
    assert list(pictures(tmp_path / "again")) == [2]
    assert np.array_equal(pictures(tmp_path)[2], pictures(tmp_path / "again")[2])


def test_a_picture_of_a_batch_renders_again_with_its_company(tmp_path):
    rendered(tmp_path, {"batch_size": 2})
    again = read_again(tmp_path / "small" / "small(0)_0001.png")
    assert again.batch == (0, 1)
    list(disco.render(again.run, out=tmp_path / "again", again=again, networks=small_networks()))
    assert list(pictures(tmp_path / "again")) == [1]
    assert np.array_equal(pictures(tmp_path)[1], pictures(tmp_path / "again")[1])


def test_set_varies_a_picture(tmp_path):
    rendered(tmp_path)
    again = read_again(tmp_path / "small" / "small(0)_0001.png", ["clip_guidance_scale=9000"])
    list(disco.render(again.run, out=tmp_path / "again", again=again, networks=small_networks()))
    assert not np.array_equal(pictures(tmp_path)[1], pictures(tmp_path / "again")[1])


def test_a_picture_tells_what_is_not_as_it_was(tmp_path):
    rendered(tmp_path, {"n_batches": 1})
    again = read_again(tmp_path / "small" / "small(0)_0000.png")
    other = small_networks()
    other.hashes = {"toy": "1" * 64}
    events = disco.render(again.run, out=tmp_path / "again", again=again, networks=other)
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert texts == [
        "the picture will differ: the weights toy have SHA-256 111111111111, it was made with 000000000000"
    ]


def test_an_init_picture_that_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "init.png").write_bytes(png_bytes(torch.zeros(3, 32, 32)))
    rendered(tmp_path, {"n_batches": 1, "init_image": "init.png", "skip_steps": 5})
    (tmp_path / "init.png").write_bytes(png_bytes(torch.ones(3, 32, 32)))
    again = read_again(tmp_path / "small" / "small(0)_0000.png")
    with pytest.raises(InputError) as error:
        list(disco.render(again.run, out=tmp_path / "again", again=again, networks=small_networks()))
    assert str(error.value).startswith("init.png: changed since: SHA-256 is ")
    assert not (tmp_path / "again").exists(), "refused before a folder is made or a network loaded"
    assert str(error.value).endswith("Put the old one back, or name another with --set.")


def test_every_png_carries_what_it_takes(tmp_path):
    rendered(tmp_path)
    metadata = read_metadata(tmp_path / "small" / "small(0)_0001.png")
    assert (metadata["seed"], metadata["picture"], metadata["batch"]) == (5, 1, [1])
    assert metadata["weights"] == {"toy": "0" * 64}
    assert {"disco", "torch", "python"} <= metadata["versions"].keys()
    assert metadata["settings"]["clip_guidance_scale"] == 500
    assert metadata["machine"]["threads"] == torch.get_num_threads()


def test_dd57_repeats_one_stream_whatever_the_listener_draws(tmp_path):
    values = {"compat": "dd57"}
    rendered(tmp_path / "quiet", values)
    for _ in events_of(tmp_path / "noisy", values):
        torch.randn(3)
    assert same(pictures(tmp_path / "quiet"), pictures(tmp_path / "noisy"))


def test_fixed_leaves_the_global_stream_alone(tmp_path):
    events = events_of(tmp_path, {"n_batches": 1})
    before = torch.get_rng_state()
    list(events)
    assert torch.equal(before, torch.get_rng_state())


def test_dd57_alone_means_the_first_picture(tmp_path):
    with pytest.raises(InputError) as error:
        rendered(tmp_path, {"compat": "dd57"}, images=[1])
    assert str(error.value) == (
        "--images: with compat: dd57 only picture 0 can be rendered alone, since the others go on with its "
        "random stream. Render all, or render a finished one again: python run.py PICTURE.png"
    )
    assert not tmp_path.joinpath("small").exists()
    rendered(tmp_path / "first", {"compat": "dd57"}, images=[0])
    rendered(tmp_path / "all", {"compat": "dd57"})
    assert np.array_equal(pictures(tmp_path / "first")[0], pictures(tmp_path / "all")[0])


def test_images_beyond_the_run_are_refused(tmp_path):
    with pytest.raises(InputError) as error:
        rendered(tmp_path, images=[1, 3, 9])
    assert str(error.value) == "--images: 3, 9: this run has pictures 0 to 2 (n_batches: 3)"


def test_settings_mappings_files_and_lists_render_alike(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(json.dumps({**SMALL, "n_batches": 1}))
    settings = load_runs([file])[0].settings
    rendered(tmp_path / "a", {"n_batches": 1})
    for out, source in (("b", file), ("c", str(file)), ("d", settings), ("e", [file, settings])):
        list(disco.render(source, out=tmp_path / out, networks=small_networks()))
        assert same(pictures(tmp_path / "a"), pictures(tmp_path / out))
    assert same(pictures(tmp_path / "a"), pictures(tmp_path / "e", run=1))


def test_wrong_settings_raise_before_anything_is_written(tmp_path):
    with pytest.raises(SettingsError):
        rendered(tmp_path, {"steps": 1})
    with pytest.raises(InputError, match=r"nowhere\.png"):
        list(disco.render({**SMALL, "image_prompts": ["http://127.0.0.1:9/nowhere.png"]}, out=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_loses_nothing_and_the_run_goes_on(tmp_path, monkeypatch):
    rendered(tmp_path / "whole")
    write = atomic.write_new
    full = True

    def write_new(path, data):
        if full and path.name == "small(0)_0001.png":
            raise RunError(f"{path}: {errno.errorcode[errno.ENOSPC]}")
        write(path, data)

    monkeypatch.setattr(atomic, "write_new", write_new)
    with pytest.raises(RunError, match="ENOSPC"):
        rendered(tmp_path / "full")
    assert list(pictures(tmp_path / "full")) == [0]
    full = False
    steps = [e for e in events_of(tmp_path / "full", resume="latest") if isinstance(e, StepDone)]
    assert len(steps) == 10, "the picture whose steps were done is only saved; the third is rendered"
    assert same(pictures(tmp_path / "whole"), pictures(tmp_path / "full"))


def test_pictures_that_are_not_finite_are_not_guided_and_counted(tmp_path):
    class Broken(type(small_networks().clips[0])):
        def encode_image(self, cutouts):
            return super().encode_image(cutouts) * float("nan")

    networks = small_networks()
    networks.clips = [Broken()]
    finished = rendered(tmp_path, {"n_batches": 1}, networks=networks)
    assert finished.report["nan_steps"] == 10
    rendered(tmp_path / "unguided", {"n_batches": 1, "clip_guidance_scale": 0, "range_scale": 0})
    assert same(pictures(tmp_path), pictures(tmp_path / "unguided"))


def test_dd57_draws_perlin_noise_once_more(tmp_path, monkeypatch):
    """Before the first picture it draws one that no picture starts from (quirk Q9)."""
    drawn = []
    for place in ("disco.rendering.prepare.perlin_start", "disco.rendering.still.perlin_start"):
        monkeypatch.setattr(place, lambda *args: drawn.append(perlin_start(*args)) or drawn[-1])
    counts = {}
    for compat in ("fixed", "dd57"):
        drawn.clear()
        rendered(tmp_path / compat, {"compat": compat, "perlin_init": True, "skip_steps": 9, "n_batches": 2})
        counts[compat] = len(drawn)
    assert counts == {"fixed": 2, "dd57": 3}


def test_the_init_loss_pulls_to_perlin_noise_in_dd57_only(tmp_path):
    """Quirk Q9: with it the perceptual network is needed, too."""
    perlin = {"perlin_init": True, "skip_steps": 8, "n_batches": 1}
    for compat, is_same in (("fixed", True), ("dd57", False)):
        for scale in (0, 1000):
            rendered(tmp_path / compat / str(scale), perlin | {"compat": compat, "init_scale": scale})
        pulled, free = pictures(tmp_path / compat / "1000"), pictures(tmp_path / compat / "0")
        assert same(pulled, free) == is_same
        settings = run_from_mapping({**SMALL, **perlin, "compat": compat, "init_scale": 1000}).settings
        assert ("perceptual" in [need.role for need in required(settings)]) != is_same


def test_networks_are_loaded_once_for_a_queue_of_the_same(tmp_path):
    tiny = {
        "batch_name": "q", "n_batches": 1, "width_height": [32, 32], "steps": 2, "cut_overview": 1,
        "cut_innercut": 0,
    }  # fmt: skip
    runs = [{**tiny, "text_prompts": text} for text in ("a red house", "a green hill")]
    events = list(disco.render(runs, out=tmp_path))
    assert sum(isinstance(event, NetworksLoaded) for event in events) == 1
    assert len(finished_paths(iter(events))) == 2
    alone = list(disco.render([runs[1]], out=tmp_path / "alone"))
    assert len(finished_paths(iter(alone))) == 1
    metadata = read_metadata(tmp_path / "q" / "q(1)_0000.png")
    again = read_again(tmp_path / "q" / "q(1)_0000.png")
    list(disco.render(again.run, out=tmp_path / "again", again=again))
    assert np.array_equal(pictures(tmp_path, "q", 1)[0], pictures(tmp_path / "again", "q")[0])
    assert "pocket/pocket_diffusion.safetensors" in metadata["weights"]


def test_a_clip_in_a_folder_of_ones_own_paints(tmp_path, monkeypatch):
    """clip_models: a folder in open_clip's format, beside the settings file; a broken one is a failed run."""
    folder = tmp_path / "my_clip"
    shutil.copytree(Path(disco.__file__).parent / "pocket" / "clip_vit", folder)
    file = tmp_path / "own.yaml"
    file.write_text(
        "text_prompts: a mountain\nbatch_name: own\nn_batches: 1\nwidth_height: [32, 32]\nsteps: 2\n"
        "cut_overview: 1\ncut_innercut: 0\nclip_models: [./my_clip]\n"
    )
    monkeypatch.chdir(tmp_path.parent)
    assert len(finished_paths(disco.render(file, out=tmp_path / "out"))) == 1
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        list(disco.render(file, out=tmp_path / "out"))


def test_no_preview_stops_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object) -> None:
        raise RunError("no progress picture here")

    monkeypatch.setattr(RunFolder, "write_progress", refused)
    run = run_from_mapping({**SMALL, "display_rate": 1})
    events = list(disco.render(run, out=tmp_path, networks=small_networks()))
    assert sum(isinstance(event, PictureFinished) for event in events) == SMALL["n_batches"]
