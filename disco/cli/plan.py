"""--plan: what a command would do, as text. Loads no network, downloads and writes nothing."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from disco.animation.turbo import turbo_of
from disco.errors import shortened
from disco.files.paths import find
from disco.networks.clip import ClipConfig, token_report, tokenizer_of
from disco.networks.clip_configs import clip_configs
from disco.networks.required import check_packages, downloads
from disco.rendering.memory import check_start_noise, memory_lines
from disco.runs.names import RunNames, next_number, partial_steps
from disco.runs.new_run import check_images, together
from disco.runs.resume import resumable
from disco.runs.video import check_video
from disco.sampling.diffusion import Step, make_steps
from disco.settings.frame import at_frame, executed, is_chained
from disco.settings.load import Run
from disco.settings.methods import UPSCALES, upscaled_suffix
from disco.settings.model import KEYS, SECTIONS, Settings, is_animation, picture_count
from disco.settings.prompts import AnyPrompt, Prompt, prompts_at
from disco.settings.schedules import Schedule
from disco.weights.fetch import readable_size

if TYPE_CHECKING:
    from disco.runs.new_run import RerenderRequest


def describe(
    runs: Sequence[Run],
    out: Path,
    *,
    images: Sequence[int] | None = None,
    again: RerenderRequest | None = None,
    resume: int | str | None = None,
) -> str:
    """The whole report as text. Raises InputError for impossible --images; nothing is loaded or written.

    images: only these pictures of each run; again: the one finished picture that is to be rendered again;
    resume: "latest" or the number of the run that is to go on.
    """
    parts = []
    for n, run in enumerate(runs, 1):
        check_packages(run)
        check_start_noise(run, images, () if again is None else again.batch)
        title = run.name + (f" (run {n} of {len(runs)})" if len(runs) > 1 else "")
        if again is None:
            in_video = count_video_frames(run)
            if in_video is not None:
                run = run.with_values({"max_frames": min(run.settings.max_frames, in_video)}, "the video")
            check_video(run.settings)
            check_images(run, images)
            pictures = list(images) if images is not None else list(range(picture_count(run.settings)))
            title += _resume_line(run, out, resume)
            parts.append(
                _run(run, out, pictures, title, min(together(run.settings), len(pictures)), in_video)
            )
        else:
            parts.append(_run(run, out, [again.picture], title, len(again.batch)))
    return "\n".join([*itertools.chain.from_iterable(parts), *indented("to fetch", downloads(runs))])


def _resume_line(run: Run, out: Path, resume: int | str | None) -> str:
    """With --resume or resume_run, the line that names the run to resume; else ""."""
    if resume is None and not run.settings.resume_run:
        return ""
    wanted = run.settings.run_to_resume if resume in (None, "latest") else resume
    runs = [
        summary
        for summary in resumable(out, run.settings.batch_name)
        if summary.run == wanted or (wanted == "latest" and summary.state != "finished")
    ]
    return f"\nresumes    {runs[-1]}" if runs else "\nresumes    no run: there is none to resume"


def _run(
    run: Run, out: Path, pictures: Sequence[int], title: str, together: int, in_video: int | None = None
) -> Iterator[str]:
    settings = at_frame(run.settings, 0)
    steps = make_steps(settings.steps, settings.skip_steps)
    width, height = settings.width_height
    yield f"== {title}"
    if run.sweep is not None:
        yield "sweep      " + ", ".join(f"{key}: {value}" for key, value in run.sweep.values.items())
    yield f"pictures   {len(pictures)} of {width}x{height}, {together} at a time"
    if is_animation(settings):
        yield from indented("animation", frame_lines(run.settings, pictures, in_video))
        yield f"steps      {steps_line(run.settings, pictures)}"
    else:
        yield f"steps      {len(steps)} each ({settings.steps} less skip_steps {settings.skip_steps})"
    yield from indented("cuts", _cuts(settings, steps))
    yield from indented("unused", _unused(settings, steps))
    configs = dict(clip_configs(run))
    yield from indented("prompts", _tokens(run.settings, configs))
    yield from indented("files", _files(run, out, pictures, len(steps)))
    yield from indented("memory", memory_lines(run, configs))
    yield from indented("notices", run.notices)
    yield from _values(run)
    yield ""


def indented(title: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines of one part of the report."""
    for n, line in enumerate(lines):
        yield f"{title if n == 0 else '':10} {line}"


def _cuts(settings: Settings, steps: Sequence[Step]) -> Iterator[str]:
    """The cutouts of each phase, that is of consecutive steps with the same numbers."""
    networks = len(settings.clip_models)

    def numbers(step: Step) -> tuple[int, int, int]:
        at = step.index
        schedules = (settings.cut_overview, settings.cut_innercut, settings.cutn_batches)
        overview, inner, batches = (int(schedule.at(at)) for schedule in schedules)
        return overview, inner, batches

    for (overview, inner, batches), group in itertools.groupby(steps, numbers):
        phase = list(group)
        total = (overview + inner) * batches * networks
        yield (
            f"steps {phase[0].i + 1}-{phase[-1].i + 1}: ({overview} overview + {inner} inner) "
            f"x {batches} batches x {networks} CLIPs = {total} cutouts a step"
        )


def _unused(settings: Settings, steps: Sequence[Step]) -> Iterator[str]:
    """What skip_steps leaves unused of every schedule that is not constant."""
    first = steps[0].index
    if settings.skip_steps == 0:
        return
    for key in KEYS:
        schedule = getattr(settings, key)
        if isinstance(schedule, Schedule) and not schedule.constant:
            unused = _unused_values(schedule, steps)
            lost = f"; never used: {', '.join(unused)}" if unused else ""
            yield f"{key}: entries 0 to {first - 1} (skip_steps){lost}"


def _unused_values(schedule: Schedule, steps: Sequence[Step]) -> list[str]:
    seen = {schedule.at(step.index) for step in steps}
    return [f"{value:g}" for value in sorted(set(schedule.values) - seen)][:5]


def _tokens(settings: Settings, configs: dict[str, ClipConfig | None]) -> Iterator[str]:
    known = {name: config for name, config in configs.items() if config is not None}
    for when, prompt in _by_frame(settings, settings.text_prompts):
        counted = _counted(prompt, settings.compat, known)
        yield f'{when}"{prompt.text}" weight {shortened(prompt.weight, 100)}: {counted}'
    for when, image in _by_frame(settings, settings.image_prompts):
        yield f"{when}picture {image.source} weight {shortened(image.weight, 100)}"


def _by_frame(
    settings: Settings, groups: Mapping[int, tuple[AnyPrompt, ...]]
) -> Iterator[tuple[str, AnyPrompt]]:
    """Each prompt after "from frame N: " (of a still, or with one group of prompts, after "")."""
    if not is_animation(settings):
        groups = {0: prompts_at(groups, 0)}
    for frame, group in groups.items():
        for prompt in group:
            yield (f"from frame {frame}: " if len(groups) > 1 else ""), prompt


def _counted(prompt: Prompt, compat: str, configs: dict[str, ClipConfig]) -> str:
    counts: dict[str, list[str]] = {}
    for name, config in configs.items():
        if config.tokenizer.startswith("hf-hub:") or config.model_cfg["text_cfg"].get("hf_tokenizer_name"):
            counts.setdefault("tokens are counted once its tokenizer is downloaded", []).append(name)
            continue
        report = token_report(tokenizer_of(config), prompt.raw if compat == "dd57" else prompt.text)
        cut = f', cut off: "{report.cut}"' if report.cut else ""
        counts.setdefault(f"{report.count} of {report.limit} tokens{cut}", []).append(name)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{what} ({', '.join(names)})" for what, names in counts.items()) or "tokens unknown"


def _files(run: Run, out: Path, pictures: Sequence[int], n: int) -> Iterator[str]:
    settings = run.settings
    folder = out / settings.batch_name
    names = RunNames(folder, settings.batch_name, next_number(folder, settings.batch_name))
    first, last = names.picture(pictures[0]), names.picture(pictures[-1])
    yield str(first) + (f" ... {last.name}" if len(pictures) > 1 else "")
    if settings.upscale != "none":
        width, height = (side * UPSCALES[settings.upscale] for side in settings.width_height)
        enlarged = names.finished(pictures[0], upscaled_suffix(settings.upscale))
        yield f"{enlarged.name}, {width}x{height}, beside each"
    labels = partial_steps(settings.intermediate_saves, n, compat=settings.compat)
    if labels:
        label = next(iter(labels.values()))
        partial = names.partial(pictures[0], label, in_subfolder=settings.intermediates_in_subfolder)
        yield f"{partial} ... {len(labels)} partials of each picture"
    yield f"{names.settings.name}, _progress.png, _status.json" + (", _grid.png" if len(pictures) > 1 else "")


def _values(run: Run) -> Iterator[str]:
    """Every value with its origin."""
    yield "settings   (value, origin)"
    for section in SECTIONS:
        yield f"  {section.title}"
        for key in section.model_fields:
            yield f"    {key}: {shortened(run.raw[key], 100)}  [{run.origins[key]}]"


_PNG_RATIO = 0.65  # bytes of a PNG to bytes of its raw pixels


def count_video_frames(run: Run) -> int | None:
    """How many frames of its video a run would use if max_frames allows; None without a video.

    The mask video, if there is one, is read too. Raises InputError for either.
    """
    path = run.settings.video_init_path
    if run.settings.animation_mode != "Video Input" or path is None:
        return None
    if run.settings.video_mask_path is not None:
        _frames_of(run.settings.video_mask_path, run)
    return _frames_of(path, run)


def _frames_of(path: str, run: Run) -> int:
    from disco.animation.video import open_video

    with tempfile.TemporaryDirectory() as folder:  # only counted: small frames do
        local = str(find(path, run.base_dirs) or path)
        video = open_video(local, nth=run.settings.extract_nth_frame, size=(16, 16), cache_dir=Path(folder))
        return len(video)


def frame_lines(settings: Settings, frames: Sequence[int], in_video: int | None) -> Iterator[str]:
    """The lines under `animation`."""
    turbo = turbo_of(settings)
    rendered = [frame for frame in frames if turbo is None or turbo.is_rendered(frame)]
    yield f"{settings.animation_mode}: {len(frames)} frames, {_span(frames)}"
    if in_video is not None:
        nth = settings.extract_nth_frame
        used = f"1 frame in {nth}" if nth > 1 else "every frame"
        counted = f"{in_video} frames found ({used})"
        yield f"{settings.video_init_path}: {counted}, max_frames is {settings.max_frames}"
    if turbo is not None:
        yield f"turbo renders {len(rendered)}; {len(frames) - len(rendered)} are moved and blended"
    if not is_chained(settings):
        yield "no frame starts from another"
    yield "about " + readable_size(disk_bytes(settings, len(frames))) + " on disk"


def steps_line(settings: Settings, frames: Sequence[int]) -> str:
    """The line under `steps`: executed steps of all frames."""
    turbo = turbo_of(settings)
    first, later = executed(settings, 0), executed(settings, 1)
    rendered = [frame for frame in frames if turbo is None or turbo.is_rendered(frame)]
    work = sum(first if frame == 0 else later for frame in rendered)
    return f"{first} for frame 0, {later} for each later one: {work} in all"


def disk_bytes(settings: Settings, n_frames: int) -> int:
    """Estimated bytes on disk: frames, pictures of each eye, frames of a video, states for a resume."""
    width, height = settings.width_height
    raw = width * height * 3
    larger = 1 + UPSCALES.get(settings.upscale, 0) ** 2
    kinds = larger * (3 if settings.vr_mode else 1) + (1 if settings.animation_mode == "Video Input" else 0)
    states = 3 * 4 * raw * (2 if settings.turbo_mode else 1)
    return int(n_frames * kinds * raw * _PNG_RATIO) + states


def _span(frames: Sequence[int]) -> str:
    return f"{frames[0]} to {frames[-1]}" if len(frames) > 1 else f"number {frames[0]}"
