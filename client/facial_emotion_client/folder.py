"""Labels the images of a folder through a running service."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from facial_emotion_client.checks import check_answers, check_images, check_model
from facial_emotion_client.client import AsyncEmotionClient
from facial_emotion_client.images import Found, find_images, fingerprint
from facial_emotion_client.lock import alone
from facial_emotion_client.results import Failure
from facial_emotion_client.table import Table


@dataclass
class Tally:
    """Images that got a prediction, those that did not, and what the table held of both before.

    Attributes:
        others: files left out, by their ending.
        closed: folders that could not be read.
    """

    labelled: int = 0
    failed: int = 0
    labelled_before: int = 0
    failed_before: int = 0
    others: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)


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
        TableError: the table is something else or being written by another command, its rows are
            of other images, another model or the other way to see faces, or the service took up
            another model meanwhile.
        OSError: it is no folder, no image is in it, or the table cannot be written.
    """
    found = find_images(folder, out)
    names = found.names
    with alone(out):
        table = Table(out, retry)
        model = await client.model()
        check_answers(table, model, faces)
        await check_images(table, folder, names, quiet)
        table.forget(table.failed.difference(names))
        missing = [name for name in names if name not in table.done]
        tally = _begin(table, found, len(missing))
        prints: deque[str | None] = deque()
        results = client.predict_many(
            _marked((folder / name for name in missing), prints),
            faces=faces,
            group_size=group_size,
            parallel=parallel,
        )
        following, before = iter(missing), len(names) - len(missing)
        bar = partial(tqdm, total=len(names), initial=before, unit=" images", disable=quiet)
        # After an error the requests under way end here, before the client beneath them is closed.
        async with aclosing(results):
            with table, bar() as shown:
                async for result in results:
                    check_model(result, model)
                    table.add(next(following), result, prints.popleft())
                    tally.failed += isinstance(result, Failure)
                    tally.labelled += not isinstance(result, Failure)
                    shown.update()
    return tally


def _begin(table: Table, found: Found, missing: int) -> Tally:
    failed = len(table.failed)
    labelled = len(found.names) - missing - failed
    return Tally(
        labelled_before=labelled, failed_before=failed, others=found.others, closed=found.closed
    )


def _marked(paths: Iterable[Path], prints: deque[str | None]) -> Iterator[Path]:
    for path in paths:
        prints.append(fingerprint(path))
        yield path
