"""`python -m search` whose paper's space is one of tiny networks, in its workers, too."""

import sys

from optuna import Trial

from search.__main__ import main
from search.study.space import SPACES, Candidate
from search.training.recipe import Recipe
from service.network import PlainConfig


def suggest_tiny(trial: Trial, epochs: int) -> Candidate:
    """Networks and choices that train in about a second."""
    first = trial.suggest_int("first_kernels", 4, 16)
    further = trial.suggest_int("further_layers", 1, 3)
    kernels = [trial.suggest_int(f"kernels_{layer}", 4, 16) for layer in range(1, further + 1)]
    network = PlainConfig(channels=(first, *kernels), dense_units=16)
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    return Candidate(network, Recipe(epochs=epochs, batch_size=32, learning_rate=rate))


# The main module's names here and in spawned workers; a test that imports this changes nothing.
if __name__ in ("__main__", "__mp_main__"):
    SPACES["paper"] = suggest_tiny

if __name__ == "__main__":
    sys.exit(main())
