import os
import signal

for number in (signal.SIGINT, signal.SIGTERM):  # until main() catches them; imports must not be interrupted
    signal.signal(number, lambda number, frame: os._exit(128 + number))

from disco.__main__ import main  # noqa: E402

raise SystemExit(main())
