"""Whether a table may be continued: with this folder, this model and this way to see faces."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from facial_emotion_client.images import fingerprint
from facial_emotion_client.results import Failure, Result
from facial_emotion_client.table import Table, TableError

_ELSE = "name another file by --out"


def check_answers(table: Table, model: str, faces: bool) -> None:
    """Refuse a table of other answers.

    Raises:
        TableError: another model or the other way to see faces made its rows.
    """
    if table.models - {model}:
        text = f"holds answers of {', '.join(sorted(table.models))}, the service has {model}"
        raise TableError(f"{table.path} {text}; {_ELSE}")
    if table.boxed - {faces}:
        text = "of whole images" if faces else "of faces found in images (--faces)"
        raise TableError(f"{table.path} holds answers {text}; {_ELSE}")


async def check_images(table: Table, folder: Path, names: Sequence[str], quiet: bool) -> None:
    """Refuse a table of other images, since its names do not tell of which folder they are.

    Args:
        table: to be continued.
        folder: holds the images.
        names: of them.
        quiet: whether to show no bar.

    Raises:
        TableError: it names an image that is not in the folder, or that is another one there.
    """
    # A file that could not be read may have been removed for that.
    gone = table.labelled.difference(names)
    if gone:
        text = f"holds images that are not in {folder} (first: {min(gone)})"
        raise TableError(f"{table.path} {text}; {_ELSE}, or delete their rows")
    # Only a slow disk makes this worth a bar.
    known = tqdm(table.fingerprints.items(), "checked", leave=False, delay=2, disable=quiet)
    for name, was in known:
        if fingerprint(folder / name) != was:
            text = f"holds answers for another {name} than the one in {folder}"
            raise TableError(f"{table.path} {text}; {_ELSE}, or delete its rows")
        # An interruption is a cancellation, which is heard here only.
        await asyncio.sleep(0)


def check_model(result: Result, model: str) -> None:
    """Refuse the answer of a model that the service took up meanwhile.

    Raises:
        TableError: it is of another model.
    """
    others = set() if isinstance(result, Failure) else {face.model for face in result} - {model}
    if others:
        text = f"the service took up {', '.join(sorted(others))} in place of {model}"
        raise TableError(f"{text}; name another file by --out to begin anew with it")
