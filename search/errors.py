"""Errors that end a command with one line and status 1."""

from pathlib import Path


class OptionsError(ValueError):
    """Options that do not go together; the message names them."""


class DataError(ValueError):
    """The data set is missing, incomplete or malformed; the message names the place."""


class AbsentSplitError(DataError):
    """The data set is there, but has no such split."""


class FaceError(DataError):
    """One face of a data set cannot be read.

    Attributes:
        split: where it belongs.
        place: its file under the folder, or its line in the csv file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, split: str, place: str, reason: str) -> None:
        where = f"{path}, line {place}" if place.isdecimal() else str(path / place)
        super().__init__(f"{where}: {reason}")
        self.split, self.place, self.reason = split, place, reason


class TrainingError(RuntimeError):
    """Training cannot go on."""


class DivergedError(TrainingError):
    """The loss is no finite number any more."""


class CheckpointError(TrainingError):
    """A checkpoint is torn, of another run, or cannot be written."""


class StoppedError(RuntimeError):
    """A signal asked the run to end, and its state is saved.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__("stopped and saved")
        self.signal = signal


class TrialFailedError(RuntimeError):
    """The configuration cannot be trained; the message is the reason to record."""


class StudyError(RuntimeError):
    """A study cannot be reached or read, or is of another space, protocol or data."""
