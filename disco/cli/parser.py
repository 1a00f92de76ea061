"""argparse as every verb has it."""

from __future__ import annotations

import argparse
import inspect
from typing import Any


class Parser(argparse.ArgumentParser):
    """Without the colours of Python 3.14, which put escapes inside of the options that --help shows."""

    def __init__(self, **options: Any) -> None:
        if "color" in inspect.signature(argparse.ArgumentParser.__init__).parameters:
            options["color"] = False
        super().__init__(**options)
