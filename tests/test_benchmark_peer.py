"""benchmarks.peer_discoart and benchmarks.precision: files that both sides read, sums, ratios, errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import peer_networks
from benchmarks.peer_discoart import Cell, cells, disagreement, peer_python, row_of
from benchmarks.precision import UNET, Choice, parts_of_attention, relative_error, unet_rows
from benchmarks.side import Clock, Side, few, probe

CPU = torch.device("cpu")


def test_ratios_are_of_pictures_rendered_one_after_the_other() -> None:
    taken = {
        "disco": [[[1.0, 2.0], [3.0, 2.0], [2.0, 2.0]], [[4.0, 2.0]]],
        "discoart": [[[6.0, 3.0], [6.0, 3.0], [6.0, 3.0]], [[4.0, 5.0]]],
    }
    assert row_of(Cell("some", 16, (512, 256), {}), taken) == {
        "work": "some",
        "size": "512x256",
        "discoart, s": 5.0,
        "disco, s": 3.0,
        "ratio of s": 2.0,
        "from-to of s": "1.00-3.00",
        "discoart, CPU s": 4.0,
        "disco, CPU s": 2.0,
        "ratio of CPU s": 2.0,
        "from-to of CPU s": "1.50-2.50",
    }


def test_sides_with_other_networks_are_found_out() -> None:
    same = {"unet": [1.0, -4.0], "clip": [0.1]}
    assert disagreement(same, same) == 0
    assert disagreement({"unet": [1.0, -3.0], "clip": [0.1]}, same) == 0.25


def test_cells_are_early_and_late() -> None:
    assert [cell.size for cell in cells(True, None)] == [(1280, 768)] * 2
    assert [cell.channels for cell in cells(False, (64, 64))] == [16, 16, 64, 64]


def test_an_environment_that_is_complete_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "complete").touch()
    assert peer_python(tmp_path).is_relative_to(tmp_path)


def test_networks_are_read_back_from_their_files(tmp_path: Path) -> None:
    facts = json.loads(peer_networks.write(tmp_path, real=False, channels=4).read_text())
    networks = peer_networks.load(facts, CPU, (torch.float32, torch.float32))
    assert [clip.name for clip in networks.clips] == [clip["name"] for clip in facts["clips"]]
    with torch.no_grad():
        eps = networks.denoiser(probe(64) * 2 - 1, 500.0)
        embeds = [clip.encode_image(probe(224)) for clip in networks.clips]
    assert eps.shape == (1, 3, 64, 64) and eps.std() > 0.01
    assert all(each.shape == (1, 64) and each.std() > 0 for each in embeds)
    assert len(few(eps)) == 64


SCRIPT = """
from benchmarks.side import serve
serve(lambda: print("not an answer") or {"a": [1.0]}, lambda: [[0.5, 0.25]])
"""


def test_a_side_answers_and_says_what_killed_it(tmp_path: Path) -> None:
    talks = Side([sys.executable, "-c", SCRIPT], {}, tmp_path / "log", tmp_path)
    assert talks.ask("check") == {"a": [1.0]}
    assert talks.ask("render") == [[0.5, 0.25]]
    talks.close()
    dies = Side([sys.executable, "-c", "raise SystemExit('no network')"], {}, tmp_path / "log", tmp_path)
    with pytest.raises(RuntimeError, match="ended with 1; its last words:\nno network"):
        dies.ask("check")


def test_the_clock_counts_whole_steps() -> None:
    clock = Clock()
    clock.marks = [(1.0, 0.5), (3.0, 1.0), (4.0, 3.0)]
    assert clock.steps() == [[2.0, 0.5], [1.0, 2.0]]


def test_precision_says_how_far_off_a_choice_is() -> None:
    choices = [Choice("parts", parts_of_attention), next(choice for choice in UNET if choice.name == "bf16")]
    plain, parts, bf16 = unet_rows(CPU, 64, choices, False)
    assert plain["largest error"] == "0"
    assert 0 < float(parts["largest error"]) < 1e-5 < float(bf16["largest error"]) < 0.2
    assert relative_error([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 4.0])]) == 0.5
