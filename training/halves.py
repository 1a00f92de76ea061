"""Which labelled pictures teach the guides (the CLIPs), and which the judge of their obedience.

Scenes and flowers, the only sources that the judge judges, are halved by the row's number; the guides leave
the pictures of the split "test" alone as well: their own accuracy is measured on pictures new to them.
"""

from __future__ import annotations

HALVED = ("scenes", "flowers")


def guides(source: str, row: int, split: str) -> bool:
    """May the CLIPs learn from row `row` (0, 1, ...) of `source`, which belongs to `split`?"""
    return split == "train" and (source not in HALVED or row % 2 == 0)


def judges(source: str, row: int) -> bool:
    """May the judge learn from this row? Never from one that a guide has seen."""
    return source in HALVED and row % 2 == 1
