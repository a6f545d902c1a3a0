"""Whose certificates are trusted: those of the public authorities, or those that the environment names."""

from __future__ import annotations

import os
import ssl

FILE_VARIABLE, FOLDER_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"


def trusted() -> ssl.SSLContext | bool:
    """What httpx takes as `verify`: with SSL_CERT_FILE or SSL_CERT_DIR the certificates there, as OpenSSL's own programs read them.

    Raises OSError where what they name cannot be read.
    """
    file, folder = os.environ.get(FILE_VARIABLE) or None, os.environ.get(FOLDER_VARIABLE) or None
    return ssl.create_default_context(cafile=file, capath=folder) if file or folder else True


def is_untrusted(error: BaseException | None) -> bool:
    """Whether this connection failed because the other side's certificate is not trusted; asking again would not help."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
