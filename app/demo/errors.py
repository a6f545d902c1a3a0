"""What may go wrong in a demonstration before its job starts.

DemoError        one sentence that says what is wrong and what to do; the command line prints it and exits with 2
"""

from __future__ import annotations


class DemoError(Exception):
    """The demonstration cannot start; the message is one sentence for the person who typed the command."""
