"""`python -m app.method_child MODULE ARGUMENT…`: `python -m MODULE`, quiet about Ctrl-C while it still imports, which takes seconds."""

from __future__ import annotations

import os
import runpy
import signal
import sys

from app.interrupts import handle_unless_ignored

EXIT_INTERRUPTED = 130


def main() -> None:
    """Runs the module in this process; its exit code, 130 after Ctrl-C.

    Until the module asks for KeyboardInterrupt (`app.interrupts`, or `signal.default_int_handler`), Ctrl-C ends the process at once: there
    is nothing to tidy up yet, and an exception that is raised while compiled code is being imported or set up can be lost in it.
    """
    handle_unless_ignored(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    del sys.argv[0]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
