"""benchmarks.memory and benchmarks.machine: a cell is measured, and the table says what it must."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks import machine
from benchmarks.memory import REAL, SMALL, Cell, cells, measure, row_of

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cell_is_measured_beside_the_estimate() -> None:
    found = measure(Cell((128, 64), 4, ("resnet",), saving={"clip_batch": 2}), CPU, False)
    assert 2**20 < found["peak"] < 2**32 and found["estimate"] > found["counted"] > 2**20
    row = row_of(Cell((128, 64), 4, ("resnet",), saving={"clip_batch": 2}), found)
    assert (row["size"], row["CLIPs"], row["memory saving"]) == (
        "128x64",
        "resnet",
        "2 cutouts seen by a CLIP at once",
    )


@pytest.mark.parametrize("real, base", [(True, REAL), (False, SMALL)])
def test_cells_differ_from_the_base_in_one_thing(real: bool, base: Cell) -> None:
    found = list(cells(real))
    assert found[0] == base and len({json.dumps(asdict(cell)) for cell in found}) == len(found) > 10
    for name in ("size", "cuts", "clips", "batch_size", "secondary", "saving"):
        assert any(getattr(cell, name) != getattr(base, name) for cell in found), name


def test_results_are_a_table_and_json_with_the_machine(tmp_path: Path) -> None:
    rows = [{"what": "a", "GiB": 1.0}, {"what": "b", "GiB": 0.256}]
    assert machine.table(rows) == "| what | GiB |\n| --- | ---: |\n| a | 1.00 |\n| b | 0.26 |"
    about = machine.about()
    saved = json.loads(machine.save("memory_cpu", rows, about, tmp_path / "results").read_text())
    assert saved == {"machine": about, "rows": rows}
    assert about["versions"]["torch"] and about["commit"] and about["cores"] >= 1 and about["gpu"] is None
