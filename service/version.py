"""The version of the whole project; everything else takes it from here."""

from typing import Final

VERSION: Final = "0.1.0"
