"""The errors that Disco raises on purpose. Each knows the exit code that the command line gives for it."""

from __future__ import annotations

from collections.abc import Sequence


class DiscoError(Exception):
    """Something the user can act on: the text says where, what, what is allowed and what to do."""

    exit_code = 1


class SettingsError(DiscoError):
    """One or more wrong settings, all of a file at once; each problem is one line `where: key: what`."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class InputError(DiscoError):
    """A wrong command line, or a picture or file that cannot be read as what it should be."""

    exit_code = 2


class ResumeError(DiscoError):
    """A run that cannot be continued as asked."""

    exit_code = 2


class WeightsError(DiscoError):
    """A network file that is missing, damaged, or does not fit its architecture."""


class RunError(DiscoError):
    """The run failed for an outside reason: a full disk, an unwritable folder."""
