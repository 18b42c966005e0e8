"""A table of results in a file that can be continued after an interruption.

CSV, JSON (an array with an object a line) or JSON Lines, by the name's ending. A row that a
kill tore is dropped with all rows of its image, and that image is done again. Names stand in it
as `names.escape` makes them, so that the file is UTF-8 whatever the names are.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from facial_emotion_client.names import escape, unescape
from facial_emotion_client.results import Failure, Result

Row = dict[str, Any]

LABELS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
COLUMNS: Final = (
    "image",
    "label",
    "confidence",
    "uncertain",
    *LABELS,
    "left",
    "top",
    "side",
    "error",
    "message",
    "model",
    "fingerprint",
    "left_out",
)
"""Of each row; a row stands for a face, or for an image without a prediction."""

_LATER: Final = COLUMNS[-2:]
"""Tables that were begun before there were these lack the last or both."""

ENDINGS: Final = (".csv", ".json", ".jsonl")


class TableError(Exception):
    """The file cannot be continued; the text says why."""


class Table:
    """Rows that are in the file as soon as `add` returns.

    The file is read at once, and changed from when the table is entered as a context manager.

    Args:
        path: created, or continued where it holds rows.
        retry: whether to drop the rows of images without a prediction, which are then not done.

    Attributes:
        done: images whose rows are in it, and need not be done again.
        failed: those of them without a prediction, when it was opened.
        labelled: all that it tells a prediction of, with one that is to be done again.
        fingerprints: of their files, of those with a prediction, where the rows tell them.
        models: names of the models that answered.
        boxed: whether faces were found in the images: none, one or both answers.

    Raises:
        TableError: another ending, or the file holds something else.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, retry: bool = False) -> None:
        self.path, self.kind = path, path.suffix.lower()
        if self.kind not in ENDINGS:
            raise TableError(f"{path}: the name must end in one of {', '.join(ENDINGS)}")
        whole = _read(path, self.kind) if path.exists() else []
        # The image that is dropped tells, too, what the table is of.
        self.labelled = {row["image"] for row in whole if row["label"]}
        self.fingerprints = {
            row["image"]: row["fingerprint"] for row in whole if row["label"] and row["fingerprint"]
        }
        self.models = {row["model"] for row in whole if row["model"]}
        self.boxed = {row["left"] is not None for row in whole if row["label"]}
        rows = _drop_last(whole)
        if retry:
            rows = [row for row in rows if not row["error"]]
        self._rows = rows
        self.done = {row["image"] for row in rows}
        self.failed = {row["image"] for row in rows if row["error"]}
        self._empty = True

    def forget(self, images: Iterable[str]) -> None:
        """Leave out the rows of these images that have no prediction; call before entering."""
        gone = self.failed.intersection(images)
        self._rows = [row for row in self._rows if row["image"] not in gone]
        self.done -= gone
        self.failed -= gone

    def __enter__(self) -> Self:
        fresh = self.path.with_name(f"{self.path.name}.part")
        with _open(fresh, "w") as file:
            file.write(self._head() + self._lines(self._rows))
        # Only then is the old file gone. Windows does not rename a file that is open.
        fresh.replace(self.path)
        self._file = _open(self.path, "a")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.write("\n]\n" if self.kind == ".json" else "")
        self._file.close()

    def add(self, image: str, result: Result, fingerprint: str | None = None) -> None:
        """Write an image's rows."""
        self._file.write(self._lines(to_rows(image, result, fingerprint)))
        self._file.flush()
        self.done.add(image)

    def _head(self) -> str:
        if self.kind == ".csv":
            return _to_csv([COLUMNS])
        return "[" if self.kind == ".json" else ""

    def _lines(self, rows: Iterable[Row]) -> str:
        rows = [row | {"image": escape(row["image"])} for row in rows]
        if self.kind == ".csv":
            return _to_csv([[_show(row[name]) for name in COLUMNS] for row in rows])
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        if self.kind == ".jsonl":
            return "".join(f"{line}\n" for line in lines)
        text = "".join(f",\n{line}" for line in lines)
        if lines and self._empty:
            self._empty, text = False, text[1:]
        return text


def _open(path: Path, mode: str) -> IO[str]:
    # A stray surrogate, as a message may hold, is no reason for a table that nobody can read.
    return path.open(mode, encoding="utf-8", errors="backslashreplace", newline="")


def to_rows(image: str, result: Result, fingerprint: str | None = None) -> list[Row]:
    """A row for each face of an image, or one that says why there is none.

    Args:
        image: its name in the table.
        result: of `predict_many`.
        fingerprint: of its file.
    """
    row: Row = dict.fromkeys(COLUMNS) | {"image": image, "fingerprint": fingerprint}
    if isinstance(result, Failure):
        return [row | {"error": result.code, "message": result.message}]
    rows = []
    for face in result:
        box = {} if face.box is None else vars(face.box)
        facts = {name: getattr(face, name) for name in ("label", "confidence", "uncertain")}
        more = {"model": face.model, "left_out": result.left_out}
        rows.append(row | facts | dict(face.scores) | box | more)
    return rows


def _read(path: Path, kind: str) -> list[Row]:
    """The whole rows of a file of ours; what follows the last line break was torn."""
    # Names stood in older tables as they were, UTF-8 or not.
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    whole = text[: text.rfind("\n") + 1]
    if not any(text.startswith(start[: len(text)]) for start in _starts(kind)):
        raise TableError(f"{path} holds something else; name another file")
    rows = _read_csv(whole) if kind == ".csv" else _read_json(path, whole)
    return [row | {"image": unescape(row["image"])} for row in rows]


def _starts(kind: str) -> tuple[str, ...]:
    if kind == ".csv":
        return tuple(_to_csv([COLUMNS[:end]]) for end in (None, -1, -len(_LATER)))
    return ("[\n",) if kind == ".json" else ('{"image": ',)


def _read_csv(text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    # A row that was torn in a quoted line break lacks its last fields.
    rows = [row for row in reader if None not in row.values()]
    return [{name: row.get(name) or None for name in COLUMNS} for row in rows]


def _read_json(path: Path, text: str) -> list[Row]:
    lines = [line.rstrip(",") for line in text.split("\n")]
    try:
        rows = [json.loads(line) for line in lines if line not in ("", "[", "]")]
        return [
            {name: row.get(name) if name in _LATER else row[name] for name in COLUMNS}
            for row in rows
        ]
    except (ValueError, TypeError, KeyError):
        raise TableError(f"{path} holds something else; name another file") from None


def _drop_last(rows: Sequence[Row]) -> list[Row]:
    """Without the last image, whose further rows may be missing."""
    return [row for row in rows if row["image"] != rows[-1]["image"]]


def _show(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _to_csv(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
