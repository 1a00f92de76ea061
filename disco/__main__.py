"""`python -m disco`; run.py and the installed command call the same main()."""

import os
import signal
import sys

if __name__ == "__main__":  # as run.py: a signal before main() begins ends the process without a traceback
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, frame: os._exit(128 + number))

from collections.abc import Sequence

from disco.cli.signals import Interrupted, StopFlag, end_process
from disco.cli.streams import safe_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the command line. Returns its exit code.

    argv: None for the arguments of this process, which is to end with the command. Signals first: SIGINT and
    SIGTERM end the imports of the command line too, with one line and 130 or 143.
    """
    flag = StopFlag()
    with flag.catching(), safe_streams():
        try:
            from disco.cli import command

            flag.check()
            try:
                code = command.run(sys.argv[1:] if argv is None else argv, flag)
            finally:
                flag.check()  # it may have ended before a signal that had to wait came again
        except Interrupted as stop:
            print("stopped at once", file=sys.stderr)
            code = stop.exit_code
    return code if argv is not None else end_process(code, at_once=flag.raised)


if __name__ == "__main__":
    raise SystemExit(main())
