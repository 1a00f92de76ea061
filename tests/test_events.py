"""Events are plain data: a listener that imports them loads no other library."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing

from disco import events


def test_importing_events_loads_nothing_else() -> None:
    code = "import sys, disco.events; assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_event_is_frozen_data_and_part_of_the_union() -> None:
    classes = {thing for thing in vars(events).values() if dataclasses.is_dataclass(thing)}
    assert classes == set(typing.get_args(events.Event))
    for event in classes:
        assert event.__dataclass_params__.frozen  # type: ignore[union-attr]
