"""How names of files stand in a table: as UTF-8, also those that are not.

A file's name may hold bytes that are not UTF-8, which Python shows as surrogates; no other
program could read a table with them. Each name has one form, and each form one name.
"""

import re
from typing import Final

_SPECIAL: Final = re.compile(r"[\\\ud800-\udfff]")
_ESCAPED: Final = re.compile(r"\\(\\|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")

_BYTES: Final = range(0xDC80, 0xDD00)
"""What Python makes of the bytes from 0x80 to 0xff that are not UTF-8."""


def escape(name: str) -> str:
    r"""A name as it stands in a table: a byte that is not UTF-8 as `\xff`, a backslash as `\\`.

    Names on Windows may hold half a character instead, which stands as `\ud800`.
    """
    return _SPECIAL.sub(lambda found: _escape(found[0]), name)


def unescape(text: str) -> str:
    r"""The name that stands in a table so; a backslash that begins no escape is one."""
    return _ESCAPED.sub(lambda found: _unescape(found[1]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return "\\\\" if character == "\\" else f"\\u{code:04x}"


def _unescape(code: str) -> str:
    if code == "\\":
        return code
    number = int(code[1:], 16)
    return chr(number + 0xDC00 if code[0] == "x" else number)
