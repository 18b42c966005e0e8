"""Progress of a study, from its storage: the trials of every machine count."""

import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Final

from optuna import Study
from optuna.trial import TrialState

from search.confirmation import best_trials
from search.slots import count_done

SECONDS: Final = 2.0
"""Between two looks at the storage."""


class StudyProgress:
    """Prints a line whenever slots get done, while its block runs."""

    def __init__(self, study: Study, wanted: Collection[int], workers: int) -> None:
        self.study, self.wanted, self.workers = study, wanted, workers
        self.started = time.monotonic()
        self.done_before = self.done = count_done(study, wanted)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "StudyProgress":
        print(f"{self.study.study_name}: {self.done} of {len(self.wanted)} done", flush=True)
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
        self.show()

    def show(self) -> None:
        """Print the line if a slot was done since the last one."""
        done = count_done(self.study, self.wanted)
        if done == self.done:
            return
        self.done = done
        print(self.line(), flush=True)

    def line(self) -> str:
        """Slots done, the best trial so far, images a second and the time left."""
        best = best_trials(self.study, 1)
        words = [f"{self.done}/{len(self.wanted)} done"]
        if best:
            words.append(f"best {best[0].value:.2%} (trial {best[0].number})")
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        rates = [t.user_attrs["images_per_second"] for t in complete[-self.workers :]]
        if rates:
            words.append(f"{sum(rates) / len(rates) * self.workers:.0f} images/s")
        pace = (time.monotonic() - self.started) / max(1, self.done - self.done_before)
        left = int(pace * (len(self.wanted) - self.done))
        words.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
        return "  ".join(words)

    def _watch(self) -> None:
        while not self.over.wait(SECONDS):
            self.show()
