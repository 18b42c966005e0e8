"""Progress of a study, from its storage: the trials of every machine count."""

import sys
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from search.duration import format_seconds
from search.stop import tell
from search.study.confirmation import best_trials, tell_name
from search.study.curve import has_several, read_curve
from search.study.outcome import front_trials, is_refused, read_accuracy
from search.study.slots import settled_trials
from search.study.storage import STORAGE_ERRORS

LOOK_SECONDS: Final = 2.0
"""Between two looks at the storage."""

QUIET_SECONDS: Final = 60.0
"""Longest time without a line."""

SHOWN: Final = 4
"""Running trials that a line names."""


class StudyProgress:
    """Prints a line whenever slots get done, and at least each minute, while its block runs."""

    def __init__(self, study: Study, wanted: Collection[int], workers: int, epochs: int) -> None:
        self.study, self.wanted, self.workers, self.epochs = study, wanted, workers, epochs
        self.started = self.told = time.monotonic()
        self.settled = settled_trials(study, wanted)
        self.before = {trial.number for trial in self.settled}
        self.unread = False
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "StudyProgress":
        self._print(f"{self.study.study_name}: {self._tell_done()}")
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self.thread.join()
        self.show_done()

    def show_done(self) -> None:
        """Print a line if slots were done since the last one."""
        # A storage that is gone is told by whoever needs it.
        with suppress(*STORAGE_ERRORS):
            settled = settled_trials(self.study, self.wanted)
            if len(settled) != len(self.settled):
                self.settled = settled
                self._print(self.done_line())

    def show_running(self) -> None:
        """Print a line if there was none for long."""
        with suppress(*STORAGE_ERRORS):
            if time.monotonic() - self.told >= QUIET_SECONDS:
                running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                self._print(self.running_line(running))

    def done_line(self) -> str:
        """Slots done, the best trial so far, images a second and the time left."""
        best = best_trials(self.study, 1)
        words = [self._tell_done()]
        if best:
            words.append(f"best {read_accuracy(best[0]):.2%} ({tell_name(best[0])})")
        if has_several(self.study):
            words.append(f"front of {len(front_trials(self.study))}")
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        rates = [t.user_attrs["images_per_second"] for t in complete[-self.workers :]]
        if rates:
            words.append(f"{sum(rates) / len(rates) * self.workers:.0f} images/s")
        fresh = [trial for trial in self.settled if trial.number not in self.before]
        # Those refused untrained took no time, and alone they tell nothing of the others.
        if not all(map(is_refused, fresh)):
            pace = (time.monotonic() - self.started) / len(fresh)
            left = int(pace * (len(self.wanted) - len(self.settled)))
            words.append(f"{format_seconds(left)} left")
        return "  ".join(words)

    def running_line(self, running: Sequence[FrozenTrial]) -> str:
        """Slots done, and how far the running trials are."""
        words = [self._tell_done()]
        for trial in running[:SHOWN]:
            curve = read_curve(trial)
            epoch = max(curve, default=0)
            accuracy = f" {curve[epoch]:.2%}" if epoch else ""
            words.append(f"{tell_name(trial)} epoch {epoch}/{self.epochs}{accuracy}")
        if len(running) > SHOWN:
            words.append(f"{len(running) - SHOWN} more")
        return "  ".join(words)

    def _tell_done(self) -> str:
        refused = sum(map(is_refused, self.settled))
        failed = sum(trial.state == TrialState.FAIL for trial in self.settled)
        words = [f"{len(self.settled)}/{len(self.wanted)} done"]
        words += [f"{refused} too large"] if refused else []
        words += [f"{failed} failed"] if failed else []
        return "  ".join(words)

    def _print(self, line: str) -> None:
        self.told = time.monotonic()
        if self.unread:
            return
        try:
            # Above the bar of a trial in this process.
            tqdm.write(line)
            sys.stdout.flush()
        except OSError:
            self.unread = True
            tell("nobody reads the progress any more; the search goes on")

    def _watch(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            self.show_done()
            self.show_running()
