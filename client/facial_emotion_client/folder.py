"""Labels the images of a folder through a running service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from facial_emotion_client.client import AsyncEmotionClient
from facial_emotion_client.results import Failure, Result
from facial_emotion_client.table import Table, TableError

ENDINGS: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp"))
"""Of names taken for images, in any case."""


@dataclass
class Tally:
    """Images that got a prediction, those that did not, and what the table held of both before."""

    labelled: int = 0
    failed: int = 0
    labelled_before: int = 0
    failed_before: int = 0


def find_images(folder: Path) -> list[str]:
    """Names of all images below a folder, relative to it, sorted.

    Raises:
        NotADirectoryError: it is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in ENDINGS and not path.is_dir():
            yield path.relative_to(folder).as_posix()


async def label_folder(
    client: AsyncEmotionClient,
    folder: Path,
    out: Path,
    *,
    faces: bool = False,
    retry: bool = False,
    group_size: int = 32,
    parallel: int = 4,
    quiet: bool = False,
) -> Tally:
    """Write the rows of every image of a folder that are not in the table yet.

    Args:
        client: asks the service.
        folder: searched with all folders in it.
        out: the table, begun or continued; a run adds its rows in the order of the names.
        faces: whether faces are to be found in each image.
        retry: whether images that failed before are done again.
        group_size: most images a request.
        parallel: most requests at once.
        quiet: whether to show no bar.

    Raises:
        EmotionError: the service refused a whole request or gave no answer; what was
            answered before is in the table.
        TableError: the table is something else, another model or the other way to see faces
            made its rows, or the service took up another model meanwhile.
        OSError: it is no folder, no image is in it, or the table cannot be written.
    """
    names, model = find_images(folder), await client.model()
    if not names:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(ENDINGS))})")
    table = Table(out, retry)
    _check(table, model, faces)
    with table:
        missing = [name for name in names if name not in table.done]
        failed = len(table.failed.intersection(names))
        before = len(names) - len(missing)
        tally = Tally(labelled_before=before - failed, failed_before=failed)
        results = client.predict_many(
            (folder / name for name in missing),
            faces=faces,
            group_size=group_size,
            parallel=parallel,
        )
        following = iter(missing)
        with tqdm(total=len(names), initial=before, unit=" images", disable=quiet) as bar:
            async for result in results:
                _check_model(result, model)
                table.add(next(following), result)
                tally.failed += isinstance(result, Failure)
                tally.labelled += not isinstance(result, Failure)
                bar.update()
    return tally


def _check(table: Table, model: str, faces: bool) -> None:
    if table.models - {model}:
        text = f"holds answers of {', '.join(sorted(table.models))}, the service has {model}"
        raise TableError(f"{table.path} {text}; name another file")
    if table.boxed - {faces}:
        text = "of whole images" if faces else "of faces found in images (--faces)"
        raise TableError(f"{table.path} holds answers {text}; name another file")


def _check_model(result: Result, model: str) -> None:
    others = set() if isinstance(result, Failure) else {face.model for face in result} - {model}
    if others:
        text = f"the service took up {', '.join(sorted(others))} in place of {model}"
        raise TableError(f"{text}; name another file to begin anew with it")
