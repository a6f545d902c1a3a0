"""A child that can be interrupted."""

import signal


def heed_interrupts() -> None:
    """For `preexec_fn`: who runs in the background, or under pytest-xdist, ignores SIGINT, and so would the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
