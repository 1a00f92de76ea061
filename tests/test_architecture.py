"""The packages: folders, linter and docs/architecture.md agree; no import circles; functions stay small."""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco.files.places import RECIPES, REGISTRY
from tests.places import ROOT, SETTINGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # import-linter brings it

DISCO = ROOT / "disco"
MODULES = sorted(DISCO.rglob("*.py"))
PACKAGES = sorted(init.parent for init in DISCO.rglob("__init__.py") if init.parent != DISCO)
MOST_FOLDERS, MOST_TOP_FILES = 14, 9
MEDIAN_LINES, MOST_LINES = 6, 46
MANY_LINES = 400


def contracts() -> list[dict[str, Any]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = config["tool"]["importlinter"]["contracts"]
    return found


def layers() -> list[set[str]]:
    """The linter's, the highest first."""
    (contract,) = (contract for contract in contracts() if contract["type"] == "layers")
    return [set(layer.split(" | ")) for layer in contract["layers"]]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


# ---- folders, linter, page ---------------------------------------------------------------------------------


def test_layers_are_the_folders_and_top_modules() -> None:
    on_disk = {path.parent.name for path in DISCO.glob("*/__init__.py")}
    on_disk |= {path.stem for path in DISCO.glob("*.py")} - {"__init__"}
    assert set().union(*layers()) == on_disk


def test_the_page_has_the_layers_in_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", page, re.MULTILINE)
    numbers = [int(number) for number, _ in rows]
    assert numbers == sorted(numbers, reverse=True)
    listed = [
        {name for number, name in rows if int(number) == layer}
        for layer in sorted(set(numbers), reverse=True)
    ]
    assert listed == layers()
    assert len(rows) == len({name for _, name in rows})


def test_outside_packages_stand_where_the_linter_lets_them() -> None:
    """The page's last column: packages that one package of ours alone imports."""
    exceptions = [
        text.split(" -> ") for contract in contracts() for text in contract.get("ignore_imports", ())
    ]
    allowed = {(ours.split(".")[1], outside) for ours, outside in exceptions}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| (\w+) \|.*\| ([\w, ]*) \|$", page, re.MULTILINE)
    listed = {(ours, outside) for ours, text in rows for outside in text.split(", ") if outside}
    assert listed == {pair for pair in allowed if pair[1] not in sys.stdlib_module_names}


DOCUMENTS = [ROOT / name for name in ("README.md", "NOTICE", "CHANGELOG.md", "training/README.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(document: Path) -> None:
    named = re.findall(r"(?<![\w/.-])(?:disco|docs)/[\w./-]*\w", document.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name] == []


def test_the_page_names_modules_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(rf"\b((?:{'|'.join(path.name for path in PACKAGES)})/\w+)", page)
    assert [name for name in named if not list(DISCO.glob(f"{name}.py"))] == []


def test_recipes_lie_beside_the_package_not_in_it() -> None:
    assert (RECIPES / "batch.yaml").is_file() and RECIPES == SETTINGS
    assert list(DISCO.rglob("*.yaml")) == [REGISTRY]


def test_the_top_of_disco_stays_small() -> None:
    inside = [path for path in DISCO.iterdir() if path.name not in ("__pycache__", ".mypy_cache")]
    assert sum(path.is_dir() for path in inside) <= MOST_FOLDERS
    assert sum(path.is_file() for path in inside) <= MOST_TOP_FILES


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_a_packages_docstring_has_one_row_a_file(package: Path) -> None:
    text = ast.get_docstring(tree_of(package / "__init__.py")) or ""
    rows = re.findall(r"^([a-z]\w*/?) +\S", text.partition("\n\n")[2], re.MULTILINE)
    files = [path.stem for path in package.glob("*.py") if path.stem != "__init__"]
    files += [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    assert sorted(rows) == sorted(files)


def test_modules_named_by_the_linter_exist() -> None:
    """import-linter refuses unused exceptions by itself, where the contract says so."""
    known = {name_of(path) for path in MODULES}
    for contract in contracts():
        assert contract["unmatched_ignore_imports_alerting"] == "error", contract["name"]
        named = {name for name in contract.get("source_modules", ()) if name != "disco"}
        named |= {exception.split(" -> ")[0] for exception in contract.get("ignore_imports", ())}
        assert named <= known, contract["name"]


# ---- import circles ----------------------------------------------------------------------------------------


def imported_by(path: Path) -> set[str]:
    """The modules of disco that it imports, at its top or in functions; not those for types only."""
    known = {name_of(module) for module in MODULES}
    names: set[str] = set()
    for node in _executed(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            names.add(node.module)
    return names & known


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module without what stands under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _executed(child)


@pytest.mark.parametrize("package", [path for path in PACKAGES if path.parent == DISCO], ids=name_of)
def test_no_import_circle_in_a_package(package: Path) -> None:
    inside = {name_of(path): path for path in package.rglob("*.py") if path.stem != "__init__"}
    left = {name: imported_by(path) & inside.keys() for name, path in inside.items()}
    while free := {name for name, imports in left.items() if not imports & left.keys()}:
        left = {name: imports for name, imports in left.items() if name not in free}
    assert not left, "these import each other, or what does"


# ---- small functions ---------------------------------------------------------------------------------------


def function_lengths() -> dict[str, int]:
    """Lines from `def` to the last line, docstring included, decorators not."""
    return {
        f"{name_of(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_functions_stay_small() -> None:
    lengths = function_lengths()
    assert statistics.median(lengths.values()) <= MEDIAN_LINES
    assert [name for name, lines in lengths.items() if lines > MOST_LINES] == []


# ---- the field's words -------------------------------------------------------------------------------------

# Names that this code once had for what the field calls otherwise, without leading underscores. Keys on
# disk are strings, and are not looked at here; no setting or public event has one of these names.
OLD_NAMES = frozenset(
    """
    twice guess_twice computed_twice given_up gave_up Economy next_economy Parking park lend
    Governor attempt Side InTurn Beside Kept OfClip Counts Work Needs Studio open_studio Moving
    Keeper Shelf Tally Working draw_in_vain Target View Mover Reel Place develop Again Footage Shot
    Crew Hand Order Hello Heard Stepped Wrote GaveUp Lost Lines Bars hear news seal looks_like BadValue Fault
    Given Where Case Finding Draft found place given share where case finding draft room
    spaced askew look_up IDLE settings_names settings_notices
    """.split()
)
# As a part of a name too: studio_of, RayCrew.
OLD_WORDS = frozenset(
    "twice economy governor parked parking studio keeper shelf tally crew reel askew vain".split()
)
OLD_FUNCTIONS = frozenset({"need"})  # the class Need is a network of a run


def names_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Classes, functions, parameters, attributes and assigned names, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "torch":  # torch.where is theirs
            yield node.attr, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


def functions_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno


def is_old(name: str) -> bool:
    bare = name.lstrip("_")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", bare).lower().split("_")
    return bare in OLD_NAMES or bool(OLD_WORDS.intersection(words))


def test_names_are_the_fields() -> None:
    old = [f"{name_of(path)}: a module" for path in MODULES if is_old(path.stem)]
    for path in MODULES:
        tree = tree_of(path)
        old += [f"{path.relative_to(ROOT)}:{line}: {name}" for name, line in names_in(tree) if is_old(name)]
        old += [
            f"{path.relative_to(ROOT)}:{line}: {name}()"
            for name, line in functions_in(tree)
            if name.lstrip("_") in OLD_FUNCTIONS
        ]
    assert old == []


# ---- long files: printed, not held -------------------------------------------------------------------------


def long_files() -> list[str]:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    return [
        f"{path.relative_to(ROOT)}: {lines} lines; does it hold two matters?"
        for path, lines in counts.items()
        if lines > MANY_LINES
    ]


if __name__ == "__main__":
    # pre-commit prints this; a long file is a question, not an error.
    print("\n".join(long_files()))
