"""The recipes in settings/: each loads, plans, and is what its comments and docs/recipes.md say."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from disco.cli.plan import describe
from disco.networks.clip_configs import clip_configs
from disco.networks.required import needed
from disco.rendering.memory import memory_lines
from disco.settings.docs import json_schema
from disco.settings.load import Run, load_runs, run_from_mapping
from disco.settings.model import Settings
from disco.weights.registry import registry
from tests.cli.test_plan import nothing_happens as nothing_happens
from tests.cli.test_plan import part
from tests.places import ROOT, SETTINGS

VALIDATOR = Draft202012Validator(json_schema())
RECIPES = sorted(SETTINGS.rglob("*.yaml"))
PUBLISHED = sorted((SETTINGS / "recipes").glob("*.yaml"))
OPENAI = "-quickgelu/openai"


def only(name: str) -> Settings:
    """The settings of a recipe that is a single run."""
    (run,) = load_runs([SETTINGS / name])
    return run.settings


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_it_loads_without_a_problem(path: Path) -> None:
    runs = load_runs([path])
    assert runs
    said = [notice for run in runs for notice in run.notices]
    if path.name == "default.yaml":
        said = [notice for notice in said if "none given" not in notice]
    assert said == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_an_editor_finds_nothing_to_mend(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    up = "../" * (len(path.relative_to(SETTINGS).parts) - 1)
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={up}schema.json"
    assert path.name == "default.yaml" or f"python run.py {path.relative_to(ROOT).as_posix()}" in text
    for document in yaml.safe_load_all(text):
        VALIDATOR.validate(json.loads(json.dumps(document)))


@lru_cache
def planned(path: Path) -> tuple[Run, str]:
    """A single run and its plan for a GPU, from a machine without weights."""
    (run,) = load_runs([path], overrides=["device=cuda:9"])
    return run, describe([run], Path("images_out"))


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in PUBLISHED], ids=lambda p: p.name)
def test_it_plans(path: Path) -> None:
    plan = describe(load_runs([path]), Path("images_out"))
    for title in ("pictures", "steps", "cuts", "files", "memory"):
        assert part(plan, title), title
    assert "unknown" not in part(plan, "memory")[0]


def test_batch() -> None:
    batch = only("batch.yaml")
    assert batch.diffusion_model == "pocket"
    assert batch.n_batches == 4 and batch.upscale == "x4"
    assert only("draft.yaml").upscale == "none"
    assert min(batch.width_height) >= 128
    assert len(batch.text_prompts[0]) >= 2
    assert len(batch.clip_models) == 2
    assert batch.use_secondary_model
    assert batch.cut_overview.min() > 0 and batch.cut_innercut.max() > 0
    assert not batch.skip_augs.max()
    assert batch.set_seed != "random_seed", "the README shows these very pictures"


def test_draft() -> None:
    batch, draft = only("batch.yaml"), only("draft.yaml")
    assert draft.width_height == batch.width_height and draft.set_seed == batch.set_seed
    assert draft.steps * 3 <= batch.steps * 2
    assert draft.text_prompts == batch.text_prompts
    assert draft.batch_name != batch.batch_name


def test_prompts() -> None:
    runs = load_runs([SETTINGS / "prompts.yaml"])
    texts = {run.settings.text_prompts[0][0].text for run in runs}
    assert len(runs) == len(texts) >= 4
    assert len({run.settings.set_seed for run in runs}) == 1, "the same noise for all"


def test_disco57() -> None:
    """The default run of Disco Diffusion 5.7."""
    settings = only("disco57.yaml")
    assert settings.compat == "dd57"
    assert settings.diffusion_model == "512x512_diffusion_uncond_finetune_008100"
    assert (settings.width_height, settings.steps, settings.skip_steps) == ((1280, 768), 250, 10)
    assert (settings.n_batches, settings.batch_name) == (50, "disco57")
    lighthouse, colours = settings.text_prompts[0]
    assert lighthouse.raw.startswith(
        "A beautiful painting of a singular lighthouse, shining its light across"
    )
    assert lighthouse.raw.endswith("by greg rutkowski and thomas kinkade, Trending on artstation.")
    assert colours.raw == "yellow color scheme"
    assert [clip.name for clip in settings.clip_models] == [
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-quickgelu/openai",
        "RN50-quickgelu/openai",
    ]
    assert (settings.clip_guidance_scale.max(), settings.cutn_batches.max()) == (5000, 4)


# the published networks


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_recipe_plans_without_weights(path: Path) -> None:
    """What a user sees who has fetched nothing yet."""
    run, plan = planned(path)
    settings = run.settings
    width, height = settings.width_height
    done = settings.steps - settings.skip_steps
    assert part(plan, "pictures") == [f"4 of {width}x{height}, 1 at a time"]
    assert part(plan, "steps") == [f"{done} each ({settings.steps} less skip_steps {settings.skip_steps})"]
    assert part(plan, "cuts")[-1].startswith("steps ") and f"-{done}: (" in part(plan, "cuts")[-1]
    assert all(" cut off" not in line and "of 75 tokens" in line for line in part(plan, "prompts"))
    assert re.match(r"about \d+\.\d GiB on cuda:9: ", part(plan, "memory")[0])
    assert part(plan, "notices") == []
    fetched = part(plan, "to fetch")
    names = [entry.name for entry in needed(run)]
    assert [line.split(": ")[0] for line in fetched[:-1]] == names
    assert not any("unknown" in line for line in fetched)
    assert fetched[-1].startswith("in all about ")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_recipe_is_a_whole_set(path: Path) -> None:
    """Its prompts push away too, its cuts change over the run, and each step has some."""
    settings = only(f"recipes/{path.name}")
    assert settings.compat == "fixed"
    assert settings.set_seed == "random_seed"
    weights = [prompt.weight.at(0) for prompt in settings.text_prompts[0]]
    assert sum(weights) > 1 and min(weights) < 0
    overview, inner = settings.cut_overview, settings.cut_innercut
    assert overview.at(0) > overview.at(999) and inner.at(0) < inner.at(999)
    assert all(overview.at(k) + inner.at(k) >= 6 for k in range(1000))


def clips_of(settings: Settings) -> list[str]:
    return [clip.name.removesuffix(OPENAI) for clip in settings.clip_models]


def test_portrait() -> None:
    portrait = only("recipes/portrait.yaml")
    assert portrait.diffusion_model == "portrait_generator_v1.5" and not portrait.use_secondary_model
    assert clips_of(portrait) == ["ViT-B-32", "ViT-L-14", "RN50"]
    width, height = portrait.width_height
    assert height > width == 512
    assert portrait.cut_ic_pow.max() <= 4, "large cuts: a face, not a cheek"
    assert portrait.clip_guidance_scale.at(0) / (512 * 640) == 20000 / (1024 * 1280)


def test_landscape() -> None:
    landscape = only("recipes/landscape.yaml")
    assert landscape.diffusion_model == "512x512_diffusion_uncond_finetune_008100"
    assert landscape.use_secondary_model and landscape.width_height == (1280, 768)
    assert clips_of(landscape) == ["ViT-B-32", "ViT-B-16", "ViT-L-14", "RN101", "RN50"]
    assert [landscape.cut_ic_pow.at(k) for k in (0, 200, 400, 600, 800)] == [0, 10, 10, 60, 80]


def test_pixel_art() -> None:
    """The network's own schedules are older than the file's, which win in compat: fixed."""
    pixels = only("recipes/pixel_art.yaml")
    own = registry().get("diffusion", "pixelartdiffusion_expanded").defaults
    assert pixels.diffusion_model == "pixelartdiffusion_expanded" and not pixels.use_secondary_model
    assert all(side % 64 == 0 and side <= 512 for side in pixels.width_height)
    assert str(pixels.cut_overview) != own["cut_overview"]
    assert pixels.cut_ic_pow.min() == 10
    assert all("#pixelart" in prompt.text for prompt in pixels.text_prompts[0][:2])


def test_watercolour() -> None:
    """The four cut schedules are those that the network brings."""
    (run,) = load_runs([SETTINGS / "recipes" / "watercolour.yaml"])
    own = registry().get("diffusion", "watercolordiffusion_2").defaults
    assert run.settings.diffusion_model == "watercolordiffusion_2" and not run.settings.use_secondary_model
    for key in ("cut_overview", "cut_innercut", "cut_ic_pow", "cut_icgray_p"):
        assert run.origins[key] == "watercolordiffusion_2"
        assert getattr(run.settings, key) == type(run.settings.cut_overview).parse(own[key])
    assert run.settings.clamp_max.max() == 0.175


def test_symmetry_mandala() -> None:
    mandala = only("recipes/symmetry_mandala.yaml")
    assert mandala.use_horizontal_symmetry and mandala.use_vertical_symmetry
    assert mandala.width_height[0] == mandala.width_height[1]
    shares = mandala.transformation_percent
    assert len(shares) > 3 and shares[0] < 0.09 and shares[-1] >= 0.9
    assert mandala.eta.max() < 0.8, "less noise that nothing mirrors"


def test_perlin_abstract() -> None:
    """Schedules begin where skip_steps lets them: none of their values is lost."""
    run, plan = planned(SETTINGS / "recipes" / "perlin_abstract.yaml")
    assert run.settings.perlin_init and run.settings.perlin_mode == "color"
    assert run.settings.steps / 4 < run.settings.skip_steps < run.settings.steps / 2
    assert run.settings.sat_scale.max() > 0 and run.settings.range_scale.max() > 150
    assert part(plan, "unused") and not any("never used" in line for line in part(plan, "unused"))
    assert "vgg" not in plan.split("to fetch")[1], "init_scale has no init_image to look at"


# docs/recipes.md

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_page_has_every_recipe() -> None:
    names = [path.name for path in PUBLISHED]
    assert sorted(re.findall(r"^\| `(\w+\.yaml)` \|", PAGE, re.MULTILINE)) == names
    assert sorted(re.findall(r"^## (\w+\.yaml)$", PAGE, re.MULTILINE)) == names


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_table_agrees_with_the_file(path: Path) -> None:
    (row,) = re.findall(rf"^\| `{path.name}` \| (.*) \|$", PAGE, re.MULTILINE)
    _, network, clips, size, steps, download, memory = row.split(" | ")
    run, plan = planned(path)
    settings = run.settings
    assert network == f"`{settings.diffusion_model}`"
    found = [registry().find_clip(name)[0].name for name in clips.split(", ")]
    assert found == [clip.name for clip in settings.clip_models]
    assert size == "{}x{}".format(*settings.width_height)
    assert int(steps) == settings.steps - settings.skip_steps
    assert f"in all about {download}," in plan
    assert part(plan, "memory")[0].startswith(f"about {memory} on ")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_settings_that_the_page_names_are_in_the_file(path: Path) -> None:
    (section,) = re.findall(rf"^## {path.name}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = dict(re.findall(r"`(\w+): ([^`]+)`", section))
    different = {key for key, value in named.items() if yaml.safe_load(value) != written.get(key)}
    advice = {"portrait": {"cutn_batches"}, "perlin_abstract": {"perlin_mode"}}  # what else to try
    assert named and different == advice.get(path.stem, set())


README_MEMORY = (
    ("ViT-B/32 alone", ["ViT-B/32"], 16),
    ("ViT-B/32 + ViT-B/16 + RN50", ["ViT-B/32", "ViT-B/16", "RN50"], 16),
    ("the same, 64 at once", ["ViT-B/32", "ViT-B/16", "RN50"], "auto"),
)
RUNNING_MEMORY: tuple[tuple[str, list[str], bool], ...] = (
    ("ViT-B/32 |", ["ViT-B/32"], True),
    ("ViT-B/32, ViT-B/16, RN50 |", ["ViT-B/32", "ViT-B/16", "RN50"], True),
    ("the same and ViT-L/14", ["ViT-B/32", "ViT-B/16", "RN50", "ViT-L/14"], True),
    ("ViT-B/32, ViT-B/16, RN50, no secondary", ["ViT-B/32", "ViT-B/16", "RN50"], False),
)


def cells_of(page: str, row: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {re.escape(row)}.*$", text, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")[2:-1]]


def planned_memory(**values: object) -> str:
    network = {"diffusion_model": "512x512_diffusion_uncond_finetune_008100", "precision": "fp16"}
    run = run_from_mapping({"text_prompts": "a lake", "device": "cuda:9", **network, **values})
    return next(iter(memory_lines(run, dict(clip_configs(run)))))


@pytest.mark.parametrize("row, clips, clip_batch", README_MEMORY)
def test_the_readmes_memory_is_that_of_the_plan(row: str, clips: list[str], clip_batch: int | str) -> None:
    sizes = ([512, 512], [832, 512], [1280, 768])
    for size, shown in zip(sizes, cells_of("README.md", row), strict=True):
        line = planned_memory(width_height=size, clip_models=clips, clip_batch=clip_batch)
        assert line.startswith(f"about {shown} on cuda:9")


@pytest.mark.slow
@pytest.mark.parametrize("row, clips, secondary", RUNNING_MEMORY)
def test_the_memory_in_the_docs_is_that_of_the_plan(row: str, clips: list[str], secondary: bool) -> None:
    columns = [(size, batches) for size in ([512, 512], [1280, 768]) for batches in (1, 4)]
    for (size, batches), shown in zip(columns, cells_of("docs/running.md", row), strict=True):
        line = planned_memory(
            width_height=size, clip_models=clips, cutn_batches=batches, use_secondary_model=secondary
        )
        assert line.startswith(f"about {shown} GiB on cuda:9")
