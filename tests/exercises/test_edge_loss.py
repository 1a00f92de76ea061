"""A newcomer adds a loss with a scale of its own in two files; it acts, and its default changes nothing."""

from __future__ import annotations

from pathlib import Path

from tests.exercises.changed_copy import copy_with, files_of, run_in
from tests.small_run import pictures, rendered, same

DIFF = Path(__file__).with_name("edge_loss.diff")
ONE = {"n_batches": 1, "steps": 4, "tv_scale": 50, "range_scale": 150}
RUN = f"""
from pathlib import Path
import disco.settings.docs as docs
from disco.events import StepDone
from tests.small_run import events_of, rendered

ONE = {ONE!r}
rendered(Path("default"), ONE)
steps = [e for e in events_of(Path("edges"), ONE | {{"edge_scale": "[900]*1000"}}) if isinstance(e, StepDone)]
print(sorted(steps[0].losses()))
assert "# edge_scale: 0\\n" in docs.default_yaml()
assert docs.json_schema()["properties"]["edge_scale"]["default"] == 0
"""


def test_the_diff_touches_two_files() -> None:
    assert files_of(DIFF) == ["disco/losses/pixel.py", "disco/settings/methods.py"]


def test_the_loss_acts_and_its_default_does_nothing(tmp_path: Path) -> None:
    copy_with(DIFF, tmp_path)
    losses = run_in(tmp_path, RUN)
    assert losses.strip() == "['edge', 'nan', 'pocket-conv', 'range', 'tv']"
    rendered(tmp_path / "before", ONE)
    before = pictures(tmp_path / "before")
    assert len(before) == 1
    assert same(pictures(tmp_path / "default"), before)
    assert not same(pictures(tmp_path / "edges"), before)
