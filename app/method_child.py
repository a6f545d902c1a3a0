"""`python -m app.method_child MODULE ARGUMENT…`: `python -m MODULE`, quiet about Ctrl-C while it still imports, which takes seconds."""

from __future__ import annotations

import runpy
import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Runs the module in this process; its exit code, 130 after Ctrl-C."""
    del sys.argv[0]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
