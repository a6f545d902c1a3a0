"""What may go wrong on the way to a base's weights. Each message is one sentence for a person, without a path of the machine.

BaseNotAvailable
├── NotTrained        there are no weights of this base anywhere: train it and install the result
├── Damaged           the stored weights are not what was stored: fetch them again
├── CannotStore       the folder of the weights cannot be written or read
├── UnfitCheckpoint   the right file, but it does not load strictly into the architecture
└── FetchError        the download
    ├── Unreachable   no connection, no answer in time (transient)
    ├── Refused       an HTTP status that is not 200 (408, 425, 429 and 5xx are transient)
    ├── CutOff        the body ended early (transient)
    └── WrongFile     another length or sha256 than the registry says
"""

from __future__ import annotations

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class BaseNotAvailable(Exception):
    """A base cannot be used here and now; the message says why and what to do."""

    code = "base_not_available"
    transient = False


class NotTrained(BaseNotAvailable):
    """No weights exist."""

    code = "base_not_trained"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There are no weights of {name} yet: train it with `python -m models.train_base --base {name}` and install the result with "
            f"`personalseg bases install {name} FILE`."
        )


class Damaged(BaseNotAvailable):
    """The cache holds something else than was put there."""

    code = "base_damaged"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The stored weights of {name} are damaged ({why}): get them again with `personalseg bases fetch {name}`.")


class CannotStore(BaseNotAvailable):
    """The folder does not take the file or give it back."""

    code = "base_not_stored"

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(
            f"{what} could not be stored or read: {error.strerror or type(error).__name__}. Look at the folder of the weights."
        )


class UnfitCheckpoint(BaseNotAvailable):
    """Names or shapes differ, or the file is no state dict of tensors."""

    code = "base_checkpoint_unfit"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} does not fit the architecture: {why}.")


class FetchError(BaseNotAvailable):
    """The download failed; nothing of it is left on the disk."""

    code = "base_not_fetched"


class Unreachable(FetchError):
    """No connection, or no answer in time."""

    code = "base_source_unreachable"
    transient = True

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} cannot be reached ({why}). Check the network, or name a mirror.")


class Refused(FetchError):
    """The server answered, but not with the file."""

    code = "base_source_refused"

    def __init__(self, url: str, status: int, phrase: str) -> None:
        advice = "Check the mirror's address" if status == 404 else "Try again later, or name a mirror"
        super().__init__(f"{url} answered {status} {phrase}. {advice}.")
        self.status = status
        self.transient = status in TRANSIENT_STATUSES


class CutOff(FetchError):
    """The body ended early."""

    code = "base_download_cut_off"
    transient = True

    def __init__(self, url: str, received: int, expected: int) -> None:
        super().__init__(f"The download of {url} was cut off after {received} of {expected} bytes. Try again.")


class WrongFile(FetchError):
    """Complete, but not the file that the registry names."""

    code = "base_wrong_file"

    def __init__(self, url: str, found: str, expected: str) -> None:
        super().__init__(f"{url} is not the file it should be: {found}, expected {expected}. Nothing was kept.")
