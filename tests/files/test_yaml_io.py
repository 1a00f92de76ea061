"""yaml_io: scalars of YAML 1.2, lines of every key, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.errors import SettingsError
from disco.files.yaml_io import dump, parse_documents, parse_value, read_documents, read_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.5", -0.5),
        ("007", 7),
        ("+12", 12),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2022-05-01", "2022-05-01"),
        ("1.2.3", "1.2.3"),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text: str, value: object) -> None:
    assert read_scalar(text) == value
    assert type(read_scalar(text)) is type(value)


def test_quoted_scalars_are_texts() -> None:
    (document,) = parse_documents("a: '1'\nb: \"true\"\nc: |\n  2\n", "x.yaml")
    assert document.data == {"a": "1", "b": "true", "c": "2\n"}


def test_lines_of_nested_keys_and_entries() -> None:
    text = (
        "# remark\nsteps: 5\ntext_prompts:\n  0:\n    - a\n    - {text: b,\n       weight: 2}\n  100: [c]\n"
    )
    (document,) = parse_documents(text, "x.yaml")
    assert document.line(("steps",)) == 2
    assert document.line(("text_prompts",)) == 3
    assert document.line(("text_prompts", 0, 1)) == 6
    assert document.line(("text_prompts", 0, 1, "weight")) == 7
    assert document.line(("text_prompts", 100, 0)) == 8
    assert document.line(("text_prompts", 100, 5, "x")) == 8, "the nearest thing that holds it"
    assert document.line(("nothing",)) == 2


def test_several_documents_keep_their_lines_and_empty_ones_go() -> None:
    one, two = parse_documents("---\na: 1\n---\n# empty\n---\nb: 2\n", "x.yaml")
    assert (one.data, two.data) == ({"a": 1}, {"b": 2})
    assert (one.line(("a",)), two.line(("b",))) == (2, 6)


def test_aliases_are_values_but_bombs_are_refused() -> None:
    (document,) = parse_documents("a: &x [1, 2]\nb: *x\n", "x.yaml")
    assert document.data["b"] == [1, 2]
    bomb = "a0: &a0 [1, 1]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(SettingsError, match="the file nests or repeats too much"):
        parse_documents(bomb, "x.yaml")
    with pytest.raises(SettingsError, match="the file nests or repeats too much"):
        parse_documents("a: &a [*a]\n", "x.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "x.yaml:2: a: written twice (first on line 1)"),
        ("a: 1\n'a': 2\n", "x.yaml:2: a: written twice (first on line 1)"),
        ("[1, 2]: 3\n", "x.yaml:1: a list or map cannot be a key"),
        ("a: !!int 5\n", "x.yaml:1: tag:yaml.org,2002:int: tags are not allowed in settings"),
        ("a: 1\n---\n5\n", "x.yaml:3: 5 is no setting: write lines like steps: 100"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: a tab where spaces should be: YAML is indented with spaces"),
        ("a:\n- b\n? c\n- d\n", "x.yaml:4: not readable as YAML: "),
        (
            "a: 'b\n",
            "x.yaml:1: ' is not closed: write ' at the end of \"a: 'b\"",
        ),
        ("a: *b\n", 'x.yaml:1: a text that begins with * needs quotes around all of it: "*b"'),
        ("a: @b\n", 'x.yaml:1: a text that begins with @ needs quotes around all of it: "@b"'),
        ("\n\n", "x.yaml: the file is empty: write at least one setting, like text_prompts: a cat"),
    ],
)
def test_what_is_refused_names_its_line(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_documents(text, "x.yaml")
    assert caught.value.problems[0].startswith(problem)


def test_every_problem_of_a_file_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_documents("a: 1\na: 2\nb: !x 3\n---\nc: 1\nc: 1\n", "x.yaml")
    assert [line.split(": ")[0] for line in caught.value.problems] == ["x.yaml:2", "x.yaml:3", "x.yaml:6"]


def test_missing_files_say_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "batch.yaml").write_text("a: 1")
    for name, hint in (
        ("settings/bathc.yaml", ". Did you mean settings/batch.yaml?"),
        ("settings/batch", ". Did you mean settings/batch.yaml?"),
        ("settings/xyz.yaml", ""),
    ):
        with pytest.raises(SettingsError) as caught:
            read_documents(name)
        assert str(caught.value) == f"{name}: no such file (looked in {tmp_path / 'settings'}){hint}"
    with pytest.raises(SettingsError) as caught:
        read_documents("nowhere/batch.yaml")
    assert str(caught.value) == (
        f"nowhere/batch.yaml: no such file: the folder nowhere does not exist (looked from {tmp_path})"
    )
    with pytest.raises(SettingsError) as caught:
        read_documents("settings")
    assert str(caught.value) == "settings: a folder; name a settings file in it"


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text("a: café\n", encoding=encoding)
        assert read_documents(path)[0].data == {"a": "café"}
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(SettingsError, match=r"x\.yaml:2: the file is not UTF-8 text \(byte 0xe9\)"):
        read_documents(path)
    path.write_bytes(b"a: 1\r\nb: 2\r\n")
    assert read_documents(path)[0].line(("b",)) == 2


def test_single_values() -> None:
    assert parse_value("[0, 0.8]", "--set eta") == [0, 0.8]
    assert parse_value("1e-3", "x") == 0.001
    assert parse_value("", "x") is None
    with pytest.raises(SettingsError, match=r"^--set eta=\[1: eta: \[ is not closed: "):
        parse_value("[1", "--set eta=[1: eta")
    with pytest.raises(SettingsError, match=r"^x: more than one value"):
        parse_value("1\n---\n2", "x")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 999), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(st.text(min_size=1), _PLAIN, min_size=1, max_size=4))
def test_what_is_dumped_reads_back(data: dict[str, object]) -> None:
    (document,) = parse_documents(dump(data), "x.yaml")
    assert document.data == data
