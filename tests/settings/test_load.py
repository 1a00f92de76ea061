"""load: paths, runs as values, and dumps that load again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from disco.errors import SettingsError
from disco.files.yaml_io import parse_documents
from disco.settings.aliases import known_names
from disco.settings.load import dump_yaml, load_runs, run_from_mapping
from disco.settings.model import KEYS, facts_of
from disco.settings.schedules import Schedule
from tests.loading import SMALL, load, problems, write


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_are_found_from_here_or_from_the_settings_file() -> None:
    write("pictures/here.png", "")
    write("settings/pictures/there.png", "")
    text = "init_image: pictures/here.png\nimage_prompts: [pictures/there.png:2, HTTPS://x.org/a.png]\n"
    (run,) = load_runs([write("settings/a.yaml", text)])
    assert run.settings.init_image == "pictures/here.png"
    assert [prompt.source for prompt in run.settings.image_prompts[0]] == [
        "settings/pictures/there.png",
        "HTTPS://x.org/a.png",
    ]
    assert run.settings.image_prompts[0][0].weight == Schedule.parse(2)
    (run,) = load_runs(["settings/a.yaml"], overrides=["init_image=pictures/there.png"])
    assert run.settings.init_image == "settings/pictures/there.png"


def test_mappings_look_in_their_base_dirs() -> None:
    write("settings/a.png", "")
    run = run_from_mapping({"init_image": "a.png"}, base_dirs=["settings"], name="x.png")
    assert run.settings.init_image == "settings/a.png"
    with pytest.raises(SettingsError) as caught:
        run_from_mapping({"init_image": "a.png"}, name="x.png")
    assert caught.value.problems == (f"x.png: init_image: no such file: a.png (looked in {Path.cwd()})",)


def test_a_missing_file_beside_a_similar_one() -> None:
    write("lighthouse.png", "")
    assert problems("init_image: lighthous.png\n") == (
        f"a.yaml:1: init_image: no such file: lighthous.png (looked in {Path.cwd()}). "
        "Did you mean lighthouse.png?",
    )


def test_with_values() -> None:
    run = load("text_prompts: a cat\nset_seed: random_seed\n")
    drawn = run.with_values({"set_seed": 123}, origin="drawn")
    assert drawn.settings.set_seed == 123
    assert drawn.raw["set_seed"] == 123
    assert drawn.origins["set_seed"] == "drawn"
    assert drawn.settings.model_copy(update={"set_seed": "random_seed"}) == run.settings
    assert run.settings.set_seed == "random_seed"
    with pytest.raises(ValueError, match="is not allowed"):
        run.with_values({"set_seed": -1})


def test_raw_survives_json() -> None:
    run = load(
        "text_prompts: {0: [a, 'b:2'], 100: c}\ncut_overview: {0: 3, 5: 4}\neta: {frames: {0: 0, 9: 1}}\n"
    )
    again = run_from_mapping(json.loads(json.dumps(run.raw)))
    assert again.settings == run.settings
    assert again.raw == run.raw


def test_a_dump_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("base.yaml", "seed: 5\ncutn: 8\n")
    run = load(
        f"extends: base.yaml\ndiffusion_model: {SMALL}\nViTL14: true\nrandomize_class: false\n"
        "text_prompts: ['a castle: at night', 'Blade Runner: 2049', {text: 'x: 3', weight: {0: 1, 9: 2}}]\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (again,) = load_runs([write("saved.yaml", dump_yaml(run))])
    assert again.settings == run.settings
    assert dump_yaml(again) == dump_yaml(run)
    assert "# Guidance\nclip_guidance_scale: 5000\n" in dump_yaml(run)
    assert "check_model_SHA" not in dump_yaml(run)


def _values(kind: str, facts: dict[str, Any]) -> st.SearchStrategy[Any]:
    low, high = facts.get("ge", -1000), min(facts.get("le", 5000), 5000)
    numbers = st.integers(low, high) if "int" in kind else st.floats(low, high)
    if kind == "schedule:bool":
        return st.booleans() | st.dictionaries(st.integers(0, 999), st.booleans(), min_size=1, max_size=3)
    if kind.startswith("schedule"):
        return numbers | st.dictionaries(st.integers(0, 999), numbers, min_size=1, max_size=3)
    if kind == "choice":
        return st.sampled_from(facts["choices"])
    return {"bool": st.booleans(), "int": numbers, "float": numbers}[kind]


_FREE = {
    key: _values(facts_of(key)["kind"], facts_of(key))
    for key in KEYS
    if facts_of(key)["kind"].split(":")[0] in ("schedule", "bool", "int", "float", "choice")
    and key not in ("steps", "skip_steps", "compat", "diffusion_sampling_mode", "batch_size", "cut_overview")
}


def _together(drawn: dict[str, Any]) -> dict[str, Any]:
    """The values, changed where one of them rules another out: the errors have tests of their own."""
    values = dict(drawn)
    mode = values.get("animation_mode", "None")
    if mode == "Video Input":
        values["video_init_path"] = "video.mp4"
        steps = values.setdefault("video_init_steps", 100)
        values["video_init_skip_steps"] = min(values.get("video_init_skip_steps", 50), steps - 1)
    if mode in ("2D", "Video Input"):
        values |= {"turbo_mode": False, "vr_mode": False}
    if mode == "3D":
        values["far_plane"] = values.get("near_plane", 200) + 1 + values.get("far_plane", 0)
    values["fps"] = min(values.get("fps", 12), 50)  # the most that a GIF can say
    values["init_frame"] = min(values.get("init_frame", 0), values.get("max_frames", 10000) - 1)
    return values


SAME_CASES = hypothesis_settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))


@hypothesis_settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.fixed_dictionaries({}, optional=_FREE), st.lists(_TEXTS, min_size=1, max_size=3))
def test_load_dump_load(values: dict[str, Any], texts: list[str]) -> None:
    write("video.mp4", "")
    prompts = [{"text": text} for text in texts]
    run = run_from_mapping({**_together(values), "cut_overview": 2, "text_prompts": prompts})
    (document,) = parse_documents(dump_yaml(run), "saved.yaml")
    assert run_from_mapping(document.data).settings == run.settings


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([0, 1, 400, 1000, "frames", "text", "weight", "image", "clip_models", "name"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@hypothesis_settings(SAME_CASES, max_examples=60)
@given(st.dictionaries(st.sampled_from(known_names()), _ANYTHING, max_size=5))
def test_whatever_is_written_loads_or_is_explained(values: dict[str, Any]) -> None:
    try:
        run = run_from_mapping(values, name="any")
    except SettingsError as error:
        assert all(line.startswith("any: ") and "\n" not in line for line in error.problems)
    else:
        assert run_from_mapping(run.raw).settings == run.settings
