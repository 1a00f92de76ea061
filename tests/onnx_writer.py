"""Writes an ONNX network of one operation: the tests need a real file, and no package that makes one."""

from __future__ import annotations

from collections.abc import Sequence

_FLOAT, _INT, _INTS = 1, 2, 7  # of TensorProto.DataType and AttributeProto.AttributeType


def mean_of_channels(shape: Sequence[int], channels_out: int = 1) -> bytes:
    """A network from [1, C, H, W] to the mean over its C channels, [1, channels_out, H, W] as it claims."""
    node = (
        _text(1, "picture")
        + _text(2, "depth")
        + _text(4, "ReduceMean")
        + _part(5, _text(1, "axes") + _number(8, 1) + _number(20, _INTS))
        + _part(5, _text(1, "keepdims") + _number(3, 1) + _number(20, _INT))
    )
    graph = (
        _part(1, node)
        + _text(2, "mean")
        + _part(11, _port("picture", shape))
        + _part(12, _port("depth", [shape[0], channels_out, *shape[2:]]))
    )
    return _number(1, 8) + _part(7, graph) + _part(8, _number(2, 13))


def _port(name: str, shape: Sequence[int]) -> bytes:
    sides = b"".join(_part(1, _number(1, side)) for side in shape)
    return _text(1, name) + _part(2, _part(1, _number(1, _FLOAT) + _part(2, sides)))


def _varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())
