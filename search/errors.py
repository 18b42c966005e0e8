"""Errors that end a command with one line and status 1."""


class DataError(ValueError):
    """The data set is missing, incomplete or malformed; the message names the place."""


class TrainingError(RuntimeError):
    """Training cannot go on, or a checkpoint does not belong to this run."""


class StudyError(RuntimeError):
    """A study cannot be reached or read, or is of another space, protocol or data."""
