"""The command line: argv, verbs, exit codes. Settings are read first, torch is imported after."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.cli import upscale, verbs, video
from disco.cli.parser import Parser
from disco.cli.signals import Interrupted, StopFlag
from disco.cli.streams import is_terminal, unsaid
from disco.errors import DiscoError, InputError, RunError, one_line, shortened
from disco.files.paths import check_current_folder, path_argument
from disco.files.places import RECIPES
from disco.settings.load import Run, load_runs

if TYPE_CHECKING:
    from disco.runs.new_run import RerenderRequest

USAGE = """python run.py SETTINGS... [options]      render the pictures of settings files, in order
       python run.py PICTURE.png [options]      render a finished picture again, pixel for pixel
       python run.py --prompt "one sentence"    render it with the default recipe
       python run.py show PICTURE.png           print the settings a picture carries
       python run.py import OLD -o NEW.yaml     translate a file of Disco, DiscoArt or progrockdiffusion
       python run.py video images_out/NAME      make a video of a run's frames, or of a folder of pictures
       python run.py timelapse PICTURE.png      make a time-lapse video of one picture
       python run.py upscale PICTURE.png ...    enlarge finished pictures: NAME_x4.png beside each
       python run.py models list | fetch NAME | verify [NAME]"""


def run(argv: Sequence[str], flag: StopFlag) -> int:
    """Run one command. Returns 0; 1 failed run; 2 bad input; 130 / 143 after SIGINT / SIGTERM.

    flag: catches both signals already.
    """
    words = list(argv)
    try:
        return _dispatch(words, flag) or _all_printed(words)
    except SystemExit as error:  # argparse: --help, or a wrong option
        raise SystemExit(error.code or _all_printed(words)) from None
    except DiscoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (Interrupted, KeyboardInterrupt) as signal:
        left = {**dict.fromkeys(video.VERBS, "no video was written"), "upscale": "what is enlarged is kept"}
        what = left.get(words[0] if words else "", "a run that had begun goes on with --resume")
        print(f"stopped at once; {what}", file=sys.stderr)
        return signal.exit_code if isinstance(signal, Interrupted) else 130


def _all_printed(words: list[str]) -> int:
    """The code of a command that went well: what is rendered counts, else what was printed."""
    lost = unsaid(sys.stdout)
    if not lost:
        return 0
    makes_files = bool(words) and words[0] not in verbs.VERBS
    only_prints = not makes_files or bool({"--plan", "--help", "-h"} & set(words))
    what = "not everything was printed" if only_prints else "the pictures are saved all the same"
    print(f"stdout: {lost}; {what}", file=sys.stderr)
    return 1 if only_prints else 0


def _dispatch(words: list[str], flag: StopFlag) -> int:
    check_current_folder()
    if not words:
        return _help()
    verb = (verbs.VERBS | video.VERBS | upscale.VERBS).get(words[0])
    if verb is not None:
        return verb(words[1:])
    return _render(_parser().parse_args(_bare_words(words)), flag)


def _bare_words(words: list[str]) -> list[str]:
    """Give a bare --resume or --ray its default: the settings file after it must not become its value.

    `--resume 3` is run 3, unless there is a file of that name.
    """
    joined: list[str] = []
    for word in words:
        if joined[-1:] == ["--resume=latest"] and word.isdecimal() and not Path(word).exists():
            joined[-1] = f"--resume={word}"
        else:
            joined.append({"--resume": "--resume=latest", "--ray": "--ray="}.get(word, word))
    return joined


class _HelpFormatter(argparse.HelpFormatter):
    """Shows that a value which may be left out is joined by "=": --resume[=RUN]."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).replace(" [", "[=")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="run.py", usage=USAGE, allow_abbrev=False, formatter_class=_HelpFormatter)
    add = parser.add_argument
    add("settings", nargs="*", metavar="SETTINGS", help="YAML files, or one PNG that Disco made")
    add("--prompt", help="what to paint; alone: the default recipe with this sentence")
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override a setting"
    )
    add("--out", type=path_argument, default=Path("images_out"), metavar="DIR", help="in place of images_out")
    add("--device", metavar="auto|cpu|cuda[:N]|mps", help="where to compute")
    add("--images", metavar="0,2-4", type=_images, help="only these pictures of each run")
    add("--plan", action="store_true", help="print what would be done; load and write nothing")
    add(
        "--resume",
        nargs="?",
        metavar="RUN",
        type=_run_number,
        help="go on with the newest unfinished run, or --resume=3",
    )
    add(
        "--ray",
        nargs="?",
        metavar="ADDRESS",
        help="render on the workers of a Ray cluster: --ray for this machine's GPUs, --ray=HOST:6379",
    )
    add("--quiet", action="store_true", help="only notices and the paths of pictures")
    return parser


def _images(text: str) -> list[int]:
    """ "0,2-4" -> [0, 2, 3, 4]; argparse shows the error's sentence."""
    pictures: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise argparse.ArgumentTypeError(f"{shortened(part)!r}: write picture numbers like 0,2-4")
        if match[2] and int(match[2]) - int(match[1]) > 1_000_000:
            raise argparse.ArgumentTypeError(f"{shortened(part)!r}: more than a million pictures")
        pictures |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(pictures)


def _run_number(text: str) -> int | str:
    if text == "latest" or (text.isdecimal() and len(text) < 10):
        return "latest" if text == "latest" else int(text)
    raise argparse.ArgumentTypeError(f"{shortened(text)!r}: write --resume or --resume=NUMBER of a run")


def _help() -> int:
    print(f"usage: {USAGE}")
    folder = next((path for path in (Path("settings"), RECIPES) if path.is_dir()), None)
    if folder is not None:
        print("\nRecipes:")
        for path in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("recipes/*.yaml"))]:
            if path.name != "default.yaml" and path.is_file():
                print(f"  {path!s:40} {_first_sentence(path)}")
        print(f"\n{folder / 'default.yaml'} lists every setting.")
    print("`python run.py --help` lists every option.")
    return 0


def _first_sentence(path: Path) -> str:
    """First sentence of the comment at the top of a recipe, without the command that often follows."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    above = itertools.takewhile(lambda line: line.startswith("#"), lines)
    comment = " ".join(line.lstrip("# ").strip() for line in above if "$schema" not in line)
    return re.split(r"(?<=\.)\s|:? python run\.py", comment)[0]


def _render(options: argparse.Namespace, flag: StopFlag) -> int:
    overrides = [*options.overrides, *([f"device={options.device}"] if options.device else [])]
    runs, again = _runs_of(options, overrides)
    _check_torch()
    if options.plan:
        print(_plan(options, runs, again))
        return 0
    from disco.cli.lines import PlainLines
    from disco.cli.terminal import PlainOutput, ProgressBars
    from disco.events import listen
    from disco.rendering.api import render

    flag.check()
    with _workers(options, runs, again) as workers:
        events = render(
            runs,
            out=options.out,
            images=options.images,
            resume=options.resume,
            again=again,
            networks=workers,
            stop=flag.is_set,
            working=flag.working,
        )
        watched = ProgressBars if is_terminal(sys.stderr) else PlainLines
        listen(events, PlainOutput() if options.quiet else watched())
    return flag.exit_code


def _check_torch() -> None:
    """Raises RunError with what to do where torch is missing, or does not fit this machine."""
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        cure = "Install both anew: pip install --force-reinstall torch torchvision"
        raise RunError(f"torch cannot be imported ({one_line(str(error))}). {cure}") from error


def _plan(options: argparse.Namespace, runs: Sequence[Run], again: RerenderRequest | None) -> str:
    from disco.cli.plan import describe, indented

    lines: list[str] = []
    if options.ray is not None:
        from disco.rendering.distributed.messages import check_spread, needs_of, spread_lines
        from disco.rendering.distributed.ray_pool import look

        check_spread(runs, again)
        lines = list(spread_lines(runs, options.images, *look(options.ray, needs_of(runs))))
    report = describe(runs, options.out, images=options.images, again=again, resume=options.resume)
    return "\n".join([report, *indented("ray", lines)])


def _workers(options: argparse.Namespace, runs: Sequence[Run], again: RerenderRequest | None) -> Any:
    """The workers of --ray, or None. Raises before a folder is made."""
    if options.ray is None:
        return nullcontext(None)
    from disco.rendering.distributed.messages import check_spread, needs_of
    from disco.rendering.distributed.ray_pool import connect

    check_spread(runs, again)
    return connect(options.ray, needs_of(runs))


def _runs_of(
    options: argparse.Namespace, overrides: Sequence[str]
) -> tuple[list[Run], RerenderRequest | None]:
    """The runs that the command line names. Raises SettingsError, InputError, ResumeError."""
    if options.images is not None and options.resume is not None:
        raise InputError("--images: not with --resume, which goes on with the pictures of that run")
    pngs = [path for path in options.settings if path.lower().endswith(".png")]
    if pngs:
        if len(options.settings) > 1 or options.images or options.resume is not None or options.prompt:
            raise InputError(
                f"{pngs[0]}: render one PNG at a time; with it go --set, --out, --device, --plan, --quiet"
            )
        from disco.runs.new_run import read_again

        again = read_again(path_argument(pngs[0]), overrides)
        return [again.run], again
    if options.settings or options.prompt is not None:
        return load_runs(options.settings, overrides=overrides, prompt=options.prompt), None
    if options.resume is not None:
        from disco.runs.resume import unfinished_run

        return [unfinished_run(options.out, overrides, options.resume)], None
    raise InputError("no settings file and no --prompt: `python run.py` alone lists the recipes")
