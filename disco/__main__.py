"""`python -m disco`; run.py and the installed command call the same main()."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from disco.cli.signals import Interrupted, StopFlag


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the command line. Returns its exit code.

    Signals first: SIGINT and SIGTERM end the imports of the command line too with one line and 130 or 143.
    """
    flag = StopFlag()
    with flag.catching():
        try:
            from disco.cli import command

            return command.run(sys.argv[1:] if argv is None else argv, flag)
        except Interrupted as signal:
            print("stopped at once", file=sys.stderr)
            return signal.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
