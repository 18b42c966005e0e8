"""Errors that end a command with one line and status 1."""


class OptionsError(ValueError):
    """Options that do not go together; the message names them."""


class DataError(ValueError):
    """The data set is missing, incomplete or malformed; the message names the place."""


class AbsentSplitError(DataError):
    """The data set is there, but has no such split."""


class TrainingError(RuntimeError):
    """Training cannot go on, or a checkpoint does not belong to this run."""


class StoppedError(RuntimeError):
    """A signal asked the run to end, and its state is saved.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__("stopped and saved")
        self.signal = signal


class StudyError(RuntimeError):
    """A study cannot be reached or read, or is of another space, protocol or data."""
