"""Errors that end a command with one line and status 1."""


class OptionsError(ValueError):
    """Options that do not go together; the message names them."""


class DataError(ValueError):
    """The data set is missing, incomplete or malformed; the message names the place."""


class AbsentSplitError(DataError):
    """The data set is there, but has no such split."""


class TrainingError(RuntimeError):
    """Training cannot go on."""


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
