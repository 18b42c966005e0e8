"""Ctrl-C, SIGTERM and the terminal's end (SIGHUP) as a wish to save and leave."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from search.errors import StoppedError


class Signalled(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or a closed terminal, for what ends at once.

    CPython ends a process by SIGINT, whatever its exit status, where a `KeyboardInterrupt` of
    just that class once left `exec`, which every data class calls when it is made.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def tell(words: str) -> None:
    """Print to stderr, if it is still there: with SIGHUP the terminal has gone."""
    with suppress(OSError):
        print(words, file=sys.stderr, flush=True)


_RAISED: Final[list[Signalled]] = []


def raise_on_signals() -> None:
    """From now on Ctrl-C, SIGTERM and SIGHUP raise `Signalled`, once each.

    What was ignored stays so, as Ctrl-C under `nohup` and in a script's background.
    """
    for number in _heeded():
        signal.signal(number, _raise)


def _heeded() -> list[signal.Signals]:
    asking = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return [number for number in asking if signal.getsignal(number) != signal.SIG_IGN]


def raise_again() -> None:
    """Raise the pending stop again: Python drops what is raised in a weak reference's callback."""
    if _RAISED:
        raise _RAISED[0]


def _raise(number: int, _: FrameType | None) -> None:
    # The next one must not end the tidying up, unless somebody insists.
    again = signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN
    signal.signal(number, again)
    _RAISED.append(Signalled(number))
    raise _RAISED[-1]


class StopWish:
    """Whether a signal asked to stop.

    Attributes:
        signal: its number, 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __bool__(self) -> bool:
        return self.signal != 0

    def note(self, number: int, _: FrameType | None) -> None:
        """Remember the signal; a second one acts as it does without this class."""
        self.signal = number
        signal.signal(number, signal.default_int_handler)
        if number == signal.SIGINT:
            tell("stops after this step; again, and it is not saved")

    def error(self) -> StoppedError:
        """What to raise once all is saved."""
        return StoppedError(self.signal)


@contextmanager
def catch_stop() -> Iterator[StopWish]:
    """Within, signals that ask to stop set the wish, unless ignored; needs the main thread."""
    wish = StopWish()
    before = {number: signal.signal(number, wish.note) for number in _heeded()}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
