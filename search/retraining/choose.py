"""Of several seeds of one training the best on validation, with the figures of all in its card."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from search.errors import OptionsError
from search.evaluation.scores import standard_error
from search.retraining.overwriting import is_of_run
from search.training.history import copy_history
from service.artifact import WEIGHTS_FILE, load_artifact, write_card, write_whole

SHARED: Final = ("network", "recipe", "start_from", "teachers", "data", "blend")
"""What the cards of the runs must agree on."""

Card = dict[str, Any]


def choose(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Copy the most accurate run's artifact; chosen by it, its accuracy is a little too high.

    Args:
        runs: artifacts of one training that differ in their seed.
        out: the artifact's folder.

    Returns:
        The card's `seeds`: seed, weights, accuracy (0 to 1) and loss of each run on validation,
        and its accuracy on the images that are not also in train, where known; the mean of their
        accuracies and its standard error, and the `chosen` seed.

    Raises:
        ArtifactError: a run does not pass its checks.
        OptionsError: as `check_runs`, or `out` is a run's folder.
        OSError: the copy cannot be written.
    """
    if is_of_run(out, runs):
        raise OptionsError(f"--out {out}: the folder of a run")
    cards = [load_artifact(folder).card for folder in runs]
    check_runs(runs, cards)
    best = max(range(len(cards)), key=lambda row: (measured(cards[row])["accuracy"], -row))
    seeds = summarize_seeds(cards) | {"chosen": cards[best]["seed"]}
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / WEIGHTS_FILE, (runs[best] / WEIGHTS_FILE).read_bytes())
    copy_history(runs[best], out)
    write_card(out, cards[best] | {"seeds": seeds})
    return seeds


def check_runs(folders: Sequence[Path], cards: Sequence[Card]) -> None:
    """Refuse runs that are no repetitions of each other.

    Raises:
        OptionsError: they are fewer than two, two have the same seed, they differ in more than
            that, or one was not measured.
    """
    if len(folders) < 2:
        raise OptionsError("--run: at least two")
    for folder, card in zip(folders, cards, strict=True):
        if not {"accuracy", "loss"} <= card.get("metrics", {}).get("validation", {}).keys():
            raise OptionsError(f"{folder}: its card has no figures on validation; see `calibrate`")
        other = [name for name in SHARED if card.get(name) != cards[0].get(name)]
        if other:
            raise OptionsError(f"{folder}: differs from {folders[0]} in {', '.join(other)}")
    seeds = [card.get("seed") for card in cards]
    for folder, seed in zip(folders, seeds, strict=True):
        if seeds.count(seed) > 1:
            raise OptionsError(f"{folder}: another run has its seed, {seed}")


def summarize_seeds(cards: Sequence[Card]) -> dict[str, Any]:
    """Each run's figures, and the mean of their accuracies with its standard error."""
    accuracies = [measured(card)["accuracy"] for card in cards]
    return {
        "split": "validation",
        "runs": [summarize_run(card) for card in cards],
        "mean": statistics.mean(accuracies),
        "standard_error": standard_error(accuracies),
    }


def summarize_run(card: Card) -> dict[str, Any]:
    """One run's figures."""
    figures = measured(card)
    facts = {name: card[name] for name in ("seed", "weights_sha256")}
    facts |= {name: figures[name] for name in ("accuracy", "loss")}
    if "not_in_train" in figures:
        facts["unseen_accuracy"] = figures["not_in_train"]["accuracy"]
    return facts


def measured(card: Card) -> dict[str, Any]:
    """The card's figures on validation."""
    figures: dict[str, Any] = card["metrics"]["validation"]
    return figures
