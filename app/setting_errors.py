"""What a setting that is not usable raises, and the one sentence that says which it is and why.

ValidationError, SettingsError   pydantic's: it is not of the kind or within the bounds that `app.settings` asks for
SettingUnusable                  it is, and what it names is not on this machine
"""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_settings import SettingsError

EXIT_CANNOT_START = 78
"""With which a process ends that is not to be started again (sysexits' EX_CONFIG): the operator has to do something first."""


class SettingUnusable(Exception):
    """A well-formed setting names what this machine does not have; the message is the sentence for the operator."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(_sentence(name, why))


BAD_SETTING = (ValidationError, SettingsError, SettingUnusable)
"""What a setting that is not usable raises."""


def setting_sentence(error: ValidationError | SettingsError | SettingUnusable) -> str:
    """Which environment variable is wrong, and why."""
    if isinstance(error, SettingUnusable):
        return str(error)
    if isinstance(error, SettingsError):
        return f"{error}."
    first = error.errors()[0]
    return _sentence("_".join(str(part) for part in first["loc"]).upper(), first["msg"])


def _sentence(name: str, why: str) -> str:
    return f"The setting PERSONALSEG_{name} is not usable ({why}): correct that environment variable."
