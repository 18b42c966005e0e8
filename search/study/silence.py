"""Trials whose worker is silent: dead, unless this machine was asleep itself."""

import threading
import time
from functools import cache
from typing import Final

from optuna import Study
from optuna.storages import fail_stale_trials

GRACE: Final = 3
"""Signs of life that a worker may miss before its trial counts as dead."""

TICK: Final = 1.0
"""Seconds between two looks at the clock."""

NAP: Final = 5.0
"""Seconds that the clock may have moved on between them while this process ran."""


class Vigil:
    """Notices when this process was suspended, and is told when the storage was away.

    After a laptop's sleep or a stop of all processes (Ctrl-Z) the clock has moved on, and every
    last sign of life is long ago, until each worker's thread gives its next one.
    """

    def __init__(self) -> None:
        self._seen, self._woke = time.time(), 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.look()
            time.sleep(TICK)

    def look(self) -> None:
        """Compare the clock with the last look."""
        now = time.time()
        if now - self._seen > NAP:
            self._woke = now
        self._seen = now

    def startle(self) -> None:
        """Count what was until now as a suspension."""
        self._woke = time.time()

    def awake(self) -> float:
        """Seconds since the last suspension."""
        self.look()
        return time.time() - self._woke


@cache
def vigil() -> Vigil:
    """This process's own."""
    return Vigil()


def fail_silent_trials(study: Study) -> None:
    """Fail the running trials without a sign of life for the grace period."""
    interval = study._storage.get_heartbeat_interval()  # type: ignore[attr-defined]
    if vigil().awake() >= GRACE * interval:
        fail_stale_trials(study)
