"""The verbs of the command line that render nothing: show, import, models."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from disco.cli.parser import Parser
from disco.cli.streams import is_terminal
from disco.errors import InputError, shortened
from disco.files.paths import path_argument

if TYPE_CHECKING:
    from disco.weights.fetch import ModelRow


def show(words: Sequence[str]) -> int:
    """Print what a picture carries, as YAML that `run.py` renders again."""
    parser = Parser(prog="run.py show", description=show.__doc__)
    parser.add_argument("picture", type=path_argument, metavar="PICTURE.png")
    options = parser.parse_args(words)
    from disco.files.yaml_io import dump
    from disco.media.png import read_metadata
    from disco.runs.record import check_metadata
    from disco.settings.model import SECTIONS, with_earlier

    _print_yaml_as_utf8()
    metadata = read_metadata(options.picture)
    check_metadata(metadata, str(options.picture))
    print(f"# {options.picture}: picture {metadata['picture']} of seed {metadata['seed']}")
    for title in ("batch", "machine", "versions", "weights", "inputs", "partial"):
        if title in metadata:
            print(f"# {title}: {metadata[title]}")
    values = with_earlier(metadata["settings"])
    for section in SECTIONS:  # unchecked: the files that they name may be gone
        stored = {key: values[key] for key in section.model_fields if key in values}
        if stored:
            print(f"# {section.title}\n{dump(stored)}")
    return 0


def _print_yaml_as_utf8() -> None:
    """Settings files are UTF-8, so what is printed into a file or a pipe is, whatever the console has."""
    if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")


def import_file(words: Sequence[str]) -> int:
    """Translate a settings file of Disco Diffusion, DiscoArt or progrockdiffusion."""
    parser = Parser(prog="run.py import", description=import_file.__doc__)
    parser.add_argument("old", type=path_argument, metavar="OLD")
    parser.add_argument("-o", "--output", type=path_argument, metavar="NEW.yaml", help="default: print it")
    options = parser.parse_args(words)
    from disco.files.atomic import write_new
    from disco.settings.importers.reading import import_settings
    from disco.settings.importers.writing import to_yaml

    imported = import_settings(options.old)
    print(imported.report(), file=sys.stderr)
    text = to_yaml(imported)
    if options.output is None:
        _print_yaml_as_utf8()
        print(text, end="")
        return 0
    try:
        write_new(options.output, text.encode())
    except FileExistsError:
        raise InputError(f"{options.output}: exists already; give another name with -o") from None
    print(options.output)
    return 0


def models(words: Sequence[str]) -> int:
    """List, fetch or verify the published networks."""
    parser = Parser(prog="run.py models", description=models.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list | fetch NAME | verify [NAME]")
    verbs.add_parser("list", help="every network: name, size, whether it is here, licence")
    for verb, help_text in (
        ("fetch", "download networks now"),
        ("verify", "read files again, compare hashes"),
    ):
        verbs.add_parser(verb, help=help_text).add_argument(
            "names", nargs="+" if verb == "fetch" else "*", metavar="NAME"
        )
    options = parser.parse_args(words)
    return {"list": _list, "fetch": _fetch, "verify": _verify}[options.verb](getattr(options, "names", []))


def _list(names: Sequence[str]) -> int:
    from disco.weights.fetch import describe_models, models_dir

    print(f"downloads go to {models_dir()}")
    rows = describe_models()
    parts = {
        "common: what comes with Disco, and what Disco Diffusion loads": [r for r in rows if r.is_common]
    }
    for row in rows:
        if not row.is_common:
            parts.setdefault(row.kind, []).append(row)
    most = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    name = _NAME if most is None else max(20, min(_NAME, most - 28))
    for title, part in parts.items():
        print(f"\n{title if most is None else shortened(title, most)}")
        for row in part:
            title = row.name if most is None else shortened(row.name, name)
            line = f"  {title:{name}} {_size(row):>12} {row.state or '-':5} {row.licence}"
            print(line if most is None else shortened(line, most))
    wrong = [row.name for row in rows if row.state == "wrong"]
    if wrong:
        print(f"\nnot what is published: `python run.py models verify {wrong[0]}` says why")
    return 0


_NAME = 38  # columns of a network's name; few are longer


def _size(row: ModelRow) -> str:
    from disco.weights.fetch import readable_size

    if row.bytes is None:
        return "size unknown"
    return "bundled" if row.bytes == 0 else ("" if row.is_exact else "~") + readable_size(row.bytes)


def _fetch(names: Sequence[str]) -> int:
    from tqdm import tqdm

    from disco.weights.fetch import fetch
    from disco.weights.registry import registry

    for entry in [registry().find(name) for name in names]:  # all names are checked before the first download
        bars: dict[str, tqdm[NoReturn]] = {}

        def progress(name: str, done: int, total: int | None, bars: dict[str, tqdm[NoReturn]] = bars) -> None:
            if name not in bars:
                bars[name] = tqdm(total=total, desc=name, unit="B", unit_scale=True, unit_divisor=1024)
            bars[name].update(done - bars[name].n)

        for path in fetch(entry, progress, lambda text: print(text, file=sys.stderr)).values():
            print(path)
        for bar in bars.values():
            bar.close()
    return 0


def _verify(names: Sequence[str]) -> int:
    from disco.weights.fetch import locate, verify
    from disco.weights.registry import registry

    chosen = [registry().find(name) for name in names]
    if not names:
        chosen = [entry for entry in registry().entries() if any(locate(file) for file in entry.files)]
    good = True
    for entry in chosen:
        for result in verify(entry):
            print(f"{entry.name}: {result.text}")
            good = good and result.ok is not False
    return 0 if good else 1


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"show": show, "import": import_file, "models": models}
