"""Options that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from search.config import DEFAULT_STORAGE, TAUGHT
from search.errors import OptionsError

# Not subscriptable at run time.
if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULTS: Final[dict[str, Any]] = {
    "artifact": Path("models/compact"),
    "device": "auto",
    "split": "validation",
    "storage": DEFAULT_STORAGE,
}
"""Of the options here; the others have none."""


def refuse_unused(options: argparse.Namespace, *names: str, because: str) -> None:
    """Refuse options that would be left out without a word.

    Args:
        options: as parsed.
        names: of options that have no use here.
        because: where they have one.

    Raises:
        OptionsError: one of them has another value than by default.
    """
    given = [name for name in names if getattr(options, name) != DEFAULTS.get(name)]
    if given:
        raise OptionsError(f"{', '.join(f'--{name}' for name in given)}: {because}")


def add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """`--data`."""
    text = "fer2013.csv, icml_face_data.csv, or a folder of <split>/<label>/<image>"
    parser.add_argument("--data", type=Path, required=required, help=text)


def add_split(parser: argparse.ArgumentParser) -> None:
    """`--split` that a model is measured on."""
    splits = ("train", "validation", "test")
    text = "what to measure on (default: %(default)s)"
    parser.add_argument("--split", choices=splits, default=DEFAULTS["split"], help=text)


def add_storage(parser: argparse.ArgumentParser) -> None:
    """`--storage` of studies."""
    text = "database URL, or a path for SQLite (default: %(default)s)"
    parser.add_argument("--storage", default=DEFAULTS["storage"], help=text)


def add_artifact(parser: argparse.ArgumentParser) -> None:
    """`--artifact`."""
    text = "folder of weights.safetensors and card.json (default: the shipped model)"
    parser.add_argument("--artifact", type=Path, default=DEFAULTS["artifact"], help=text)


def add_teacher(parser: argparse.ArgumentParser) -> None:
    """`--teacher`, any number of times."""
    text = f"artifact to distil from (recipes {', '.join(TAUGHT)}); may be given several times"
    parser.add_argument(
        "--teacher", type=Path, metavar="ARTIFACT", action="append", default=[], help=text
    )


def add_start_from(parser: argparse.ArgumentParser) -> None:
    """`--start-from`."""
    text = "artifact of the same network to fine-tune"
    parser.add_argument("--start-from", type=Path, metavar="ARTIFACT", help=text)


def add_set(parser: argparse.ArgumentParser) -> None:
    """`--set`, any number of times."""
    text = "change a field of the recipe, such as erase=0 or batch_size=512; may be given again"
    parser.add_argument(
        "--set", dest="changes", metavar="NAME=VALUE", action="append", default=[], help=text
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    text = "auto, cpu, cuda or cuda:N"
    parser.add_argument("--device", default=DEFAULTS["device"], help=text)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads an argument that is a whole number from `least`, to `most` if given; also as 3e8."""
    words = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def read(text: str) -> int:
        try:
            value = float(text) if "e" in text.lower() else int(text)
            if value == int(value) and least <= value <= (value if most is None else most):
                return int(value)
        except (ValueError, OverflowError):
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not {words}")

    return read


seed: Final = whole(0, 2**32 - 1)
"""As NumPy's generators take it."""

positive: Final = whole(1)
count: Final = whole(0)
