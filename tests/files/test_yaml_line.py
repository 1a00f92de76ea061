"""yaml_io.flow_yaml: what a person would type, and what every YAML reader reads back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from disco.files.yaml_io import flow_yaml, parse_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (12, "12"),
        (0.05, "0.05"),
        (1e-05, "1.0e-05"),
        ([1280, 768], "[1280, 768]"),
        ({0: 12, 400: 4}, "{0: 12, 400: 4}"),
        ("pocket-conv", "pocket-conv"),
        ("512x512_diffusion_uncond_finetune_008100", "512x512_diffusion_uncond_finetune_008100"),
        ("[12]*400+[4]*600", '"[12]*400+[4]*600"'),
        ("a cat: asleep", '"a cat: asleep"'),
        ("no", '"no"'),
        ("1e5", '"1e5"'),
        ("0x1F", '"0x1F"'),
        ("2022-06-01", '"2022-06-01"'),
        ("", '""'),
        ("two\nlines \u2028", '"two\\nlines \\u2028"'),
    ],
)
def test_forms(value: Any, text: str) -> None:
    assert flow_yaml(value) == text


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    st.recursive(
        PLAIN | TEXTS, lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXTS, part, max_size=3)
    )
)
def test_every_reader_reads_it_back(value: Any) -> None:
    line = flow_yaml(value)
    assert "\n" not in line
    assert yaml.safe_load(line) == value
    assert parse_value(line, "here") == value
