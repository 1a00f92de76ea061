"""places: the recipes lie beside the package, and nothing writes YAML into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.files.places import PACKAGE, POCKET, RECIPES, REGISTRY
from disco.settings import docs
from tests.places import SETTINGS


def _yaml_files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*") if path.suffix in (".yaml", ".yml")]


def test_the_recipes_are_those_of_the_repository() -> None:
    assert RECIPES == SETTINGS
    assert (RECIPES / "batch.yaml").is_file()
    assert PACKAGE not in (RECIPES, *RECIPES.parents)


def test_the_package_holds_no_yaml_but_the_registry() -> None:
    assert _yaml_files() == [REGISTRY]
    assert POCKET.is_dir()


def test_the_generated_files_go_to_the_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert docs.RECIPES == RECIPES
    monkeypatch.setattr(docs, "RECIPES", tmp_path)
    docs.main()
    assert (tmp_path / "default.yaml").read_bytes() == (RECIPES / "default.yaml").read_bytes()
    assert _yaml_files() == [REGISTRY]
