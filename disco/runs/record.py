"""What the chunk of a picture must be like, before anything in it is used. Torch-free."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from disco.errors import InputError, show
from disco.memory.policy import ON_DISK

FORMAT = 1
MAX_SEED = 2**63 - 1
MAX_PICTURES = 10_000_000
MAX_BATCH = 10_000
MAX_DEPTH = 40  # lists and maps inside each other
_STATE_BYTES = 5056  # of torch's generator on the CPU
_CURE = "It was changed after Disco wrote it: use the file that the run wrote."

_Number = Annotated[StrictInt, Field(ge=0, lt=MAX_PICTURES)]
_Count = Annotated[StrictInt, Field(ge=1, lt=2**31)]
_Fact = StrictStr | StrictBool | StrictInt | StrictFloat | None | list[StrictStr]


class _Memory(BaseModel):
    """The memory savings that were on (MemoryPolicy.plain)."""

    model_config = ConfigDict(extra="allow")
    one_stream: StrictBool = False
    clip_batch: _Count | None = None
    together: _Count | None = None
    grad_checkpoint: StrictBool = Field(False, alias=ON_DISK["grad_checkpoint"])
    grad_checkpoint_guess: StrictBool = Field(False, alias=ON_DISK["grad_checkpoint_guess"])
    offload: StrictBool = Field(False, alias=ON_DISK["offload"])


class _Machine(BaseModel):
    """What, besides settings and weights, decides about the last bits. More facts may come later."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Fact]
    device: StrictStr | None = None
    threads: _Count | None = None
    compiled: list[StrictStr] = []
    memory: _Memory = _Memory()


class _Record(BaseModel):
    """The chunk. Keys of later versions are let through; no known one has another type."""

    model_config = ConfigDict(extra="allow")
    format: Literal[1]
    settings: dict[StrictStr, Any]
    seed: Annotated[StrictInt, Field(ge=0, le=MAX_SEED)]
    picture: _Number
    batch: Annotated[list[_Number], Field(min_length=1, max_length=MAX_BATCH)]
    machine: _Machine = _Machine()
    versions: dict[StrictStr, StrictStr] = {}
    weights: dict[StrictStr, StrictStr] = {}
    inputs: dict[StrictStr, StrictStr] = {}
    stream: StrictStr | None = None
    partial: Annotated[StrictInt, Field(ge=0, lt=2**31)] | None = None


_PICTURE_NUMBER = f"a whole number from 0 to {MAX_PICTURES - 1}"
_ALLOWED = {
    "settings": "a map of settings",
    "seed": f"a whole number from 0 to {MAX_SEED}",
    "picture": _PICTURE_NUMBER,
    "batch": f"a list of 1 to {MAX_BATCH} different numbers of pictures, each {_PICTURE_NUMBER}",
    "machine": "a map of device, threads, memory and compiled to what they were",
    **dict.fromkeys(("versions", "weights", "inputs"), "a map of names to texts"),
    "stream": "a text of random states",
    "partial": "the whole number of a step",
}


def check_metadata(metadata: Mapping[str, Any], path: str) -> None:
    """Raises InputError unless `metadata` is what a PNG of ours carries, in a format known here."""
    if type(metadata.get("format")) is not int or metadata["format"] != FORMAT:
        raise InputError(
            f"{path}: settings of format {show(metadata.get('format'))}, known here is {FORMAT}. "
            "Use the version of Disco that wrote it."
        )
    if _is_deeper(metadata, MAX_DEPTH):
        text = f"lists and maps inside each other more than {MAX_DEPTH} deep"
        raise InputError(f"{path}: damaged settings in this picture: {text}. {_CURE}")
    try:
        _Record.model_validate(dict(metadata))
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise _damaged(metadata, path, key) from None
    batch, picture = metadata["batch"], metadata["picture"]
    if len(set(batch)) < len(batch):
        raise _damaged(metadata, path, "batch")
    if picture not in batch:
        text = f"picture {picture} is none of its batch, {show(batch)}"
        raise InputError(f"{path}: damaged settings in this picture: {text}. {_CURE}")
    if metadata.get("stream") is not None and not _is_stream(metadata["stream"]):
        raise _damaged(metadata, path, "stream")


def check_batch(metadata: Mapping[str, Any], path: str) -> None:
    """Raises InputError for a batch that its settings do not have: too many pictures, or frames together."""
    values, batch = metadata["settings"], metadata["batch"]
    is_still = values.get("animation_mode", "None") in ("None", None)
    key = "n_batches" if is_still else "max_frames"
    count = values.get(key)
    if isinstance(count, int) and max(batch) >= count > 0:
        text = f"its batch has picture {max(batch)}, but {key} is {show(count)}: they count from 0"
    elif not is_still and len(batch) > 1:
        text = f"its batch has {len(batch)} pictures, but frames of an animation are rendered one by one"
    elif is_still and values.get("compat") == "dd57" and metadata["picture"] and not metadata.get("stream"):
        text = "it lacks 'stream', which a later picture of compat: dd57 begins with"
    else:
        return
    raise InputError(f"{path}: damaged settings in this picture: {text}. {_CURE}")


def _is_deeper(value: Any, most: int) -> bool:
    """Are there lists and maps inside each other, more than `most`?"""
    level = [value]
    for _ in range(most + 1):
        level = [
            part
            for whole in level
            if isinstance(whole, (Mapping, list))
            for part in (whole.values() if isinstance(whole, Mapping) else whole)
        ]
    return any(isinstance(part, (Mapping, list)) for part in level)


def _damaged(metadata: Mapping[str, Any], path: str, key: str) -> InputError:
    if key not in metadata:
        return InputError(f"{path}: the settings in this picture lack {key!r}. {_CURE}")
    text = f"{key} is {show(metadata[key])}, not {_ALLOWED[key]}"
    return InputError(f"{path}: damaged settings in this picture: {text}. {_CURE}")


def _is_stream(text: str) -> bool:
    """ "cpu=BASE64 cuda:0=BASE64": one state of the CPU's generator, and any number of others."""
    states: dict[str, bytes] = {}
    for part in text.split():
        name, _, data = part.partition("=")
        try:
            states[name] = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return False
    return len(states.get("cpu", b"")) == _STATE_BYTES
