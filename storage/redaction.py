"""Redaction: asterisks replace the passwords, tokens and signatures in addresses.

Whatever is stored, logged or printed of an address has been redacted here.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from storage.errors import driver_said, short_line

HIDDEN = "***"

# A password may hold an unescaped "@" or "/": it ends at the last "@".
_LOGIN = re.compile(r"(?:^[^\s:/@]*(?=:[^/])|://[^\s:/]*):(.*)@", re.DOTALL)
# A user without a password is a token on the web.
_TOKEN = re.compile(r"\bhttps?://([^\s:/@]+)@")
# The user in a file's address may be a token or an access key. After the port number of a host, "/"
# begins the path, where "@" may occur.
_FILE_LOGIN = re.compile(r"://([^/?#@:]*:(?!\d*(?:[/?#]|$))[^?#]*|[^/?#]*)@")
# fsspec chains addresses with "::", as in zip://a.csv::https://host/a.zip.
_LINK = re.compile(r"(?:(?!::).)+", re.DOTALL)
# The name of a parameter, and its value with and without a further "#" or ";".
_PARAMETER = re.compile(r"[?&;#]([^=?&;#]+)=(?=([^&]*))(?=([^&;#]*))")
_PASSWORDS = "pass(?!file)|pwd|secret|token|odbc_connect"
_PASSWORD = re.compile(_PASSWORDS, re.IGNORECASE)
_SIGNATURE = re.compile(
    rf"{_PASSWORDS}|sig|credential|jwt"
    r"|(?:^|[-_.]|access|api|auth)(?:key|auth|code|session|keyid)(?:$|[-_.])",
    re.IGNORECASE,
)
# Characters of a parameter's value in a file's address: signatures and tokens are longer.
_LONGEST_SHOWN = 20
# Shorter secrets occur in ordinary words; replacing them would make a message unreadable.
_SHORTEST_REPLACED = 3


def redact(address: str, *, is_file: bool = False) -> str:
    """Return an address without its secrets.

    Parameters
    ----------
    is_file
        Whether it is the address of a file, as fsspec reads them, rather than of a database or an
        MLflow server. Files are also protected by signatures, and by tokens in place of the user.
    """
    shown, end = "", 0
    for start, stop in sorted(_secrets(address, is_file)):
        if end <= start < stop:
            shown += address[end:start] + HIDDEN
            end = stop
    return shown + address[end:]


def redact_text(text: str, *addresses: str) -> str:
    """Return a text without the secrets of all addresses in it.

    Parameters
    ----------
    addresses
        Addresses that the text may quote; their secrets may hold spaces. Any other address in the
        text ends at a space.
    """
    for address in filter(None, addresses):
        text = text.replace(address, redact(address))
    return re.sub(r"\S+", lambda word: redact(word[0]), text)


def cause_of(error: BaseException, *addresses: str) -> str:
    """Return what an error of another program says, as one short line without secrets.

    Parameters
    ----------
    addresses
        As in `redact_text`.
    """
    return short_line(redact_text(driver_said(error), *addresses))


def redact_message(message: str, address: str, *, is_file: bool) -> str:
    """Return what a library said of an address, which it may quote in parts or decoded."""
    message = message.replace(address, redact(address, is_file=is_file))
    found = {address[start:stop] for start, stop in _secrets(address, is_file)}
    found |= {part for secret in found for part in secret.split(":", 1)}
    for secret in sorted(found | {unquote(secret) for secret in found}, key=len, reverse=True):
        if len(secret) >= _SHORTEST_REPLACED:
            message = message.replace(secret, HIDDEN)
    return message


def _secrets(address: str, is_file: bool) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each secret; they may overlap."""
    if is_file:
        for link in _LINK.finditer(address):
            for login in _FILE_LOGIN.finditer(address, *link.span()):
                yield login.span(1)
    else:
        for pattern in (_LOGIN, _TOKEN):
            for login in pattern.finditer(address):
                yield login.span(1)
    for parameter in _PARAMETER.finditer(address):
        if (_SIGNATURE if is_file else _PASSWORD).search(unquote(parameter[1])):
            yield parameter.span(2)
        elif is_file and len(parameter[3]) > _LONGEST_SHOWN:
            yield parameter.span(3)
