"""docs/quirks.md: a row for every quirk that is cited, and rows that name code and tests which are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

FOLDERS = ("disco", "docs", "tests", "training", "benchmarks", "settings", "notebooks")
TEXTS = {".py", ".md", ".yaml", ".json", ".txt", ".ipynb"}
# A whole word: the neighbours of two letters inside a hash (hex, base64, base64url) are none of these.
CITATION = re.compile(r"(?<![\w+/=-])Q([1-9]\d?)(?![\w+/=-])")
ROW = re.compile(r"\| Q(\d+) \| (.+) \| (.+) \| (.+) \| (.+) \|")


def rows() -> dict[int, tuple[str, ...]]:
    """Number -> original, fixed, code, tests."""
    lines = (ROOT / "docs" / "quirks.md").read_text(encoding="utf-8").splitlines()
    found = [ROW.fullmatch(line) for line in lines if line.startswith("| Q")]
    assert all(found), "a row of docs/quirks.md has not its five cells"
    numbers = [int(row[1]) for row in found if row]
    assert numbers == sorted(set(numbers)), "rows out of order, or twice"
    return {int(row[1]): row.groups()[1:] for row in found if row}


def cited(text: str) -> list[int]:
    return [int(number) for number in CITATION.findall(text)]


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in TEXTS)
    yield from sorted(ROOT.glob("*.md"))


def named(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_quirk_that_is_cited_has_a_row() -> None:
    known, missing = rows().keys(), []
    for path in files():
        if path == Path(__file__).resolve():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            missing += [f"{path.relative_to(ROOT)}:{number}: Q{q}" for q in cited(line) if q not in known]
    assert not missing, "no row in docs/quirks.md:\n" + "\n".join(missing)


@pytest.mark.parametrize("quirk", rows())
def test_the_code_of_a_row_cites_its_quirk(quirk: int) -> None:
    modules = named(rows()[quirk][2])
    assert modules and all(re.fullmatch(r"disco/[\w/]+\.py", module) for module in modules)
    for module in modules:
        assert quirk in cited((ROOT / module).read_text(encoding="utf-8")), f"{module} cites no Q{quirk}"


@pytest.mark.parametrize("quirk", rows())
def test_the_tests_of_a_row_are_there(quirk: int) -> None:
    tests = [test.partition("::") for test in named(rows()[quirk][3])]
    assert tests
    for path, _, name in tests:
        assert re.fullmatch(r"tests/[\w/]+\.py", path) and name.startswith("test_")
        assert name in functions(ROOT / path), f"{path} has no function {name}"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("as the original had it (quirk Q7).", [7]),
        ("quirks Q1, Q3 and Q14", [1, 3, 14]),
        ("clamped (Q18)", [18]),
        ("Q5 to Q8; Q1..Q18", [5, 8, 1, 18]),
        ("Q0, Q07, Q123, IQ7, Q7b, Q7_x", []),
        ("sha256-fQ7/Q3+Q4=Q5-Q6_Q7==", []),
        ("9fQ1c2d3", []),
    ],
)
def test_what_is_a_citation(text: str, numbers: list[int]) -> None:
    assert cited(text) == numbers
