"""The file of a finished run of an ablation: its plan and its accuracies after each epoch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from search.errors import TrainingError
from search.training.plan import differing_fields
from service.artifact import write_whole

Figures = Mapping[str, float]
"""What an epoch came to, by name."""

ACCURACY: Final = "validation_accuracy"
UNSEEN: Final = "unseen_accuracy"


def run_path(out: Path, idea: str, seed: int) -> Path:
    """The file of a finished run."""
    return out / f"{idea}-{seed}.json"


def write_run(path: Path, plan: dict[str, Any], history: Sequence[Figures]) -> Figures:
    """Keep a run's accuracies after each epoch, whole or not at all; returns the last ones."""
    curves = {
        name: [figures[name] for figures in history]
        for name in (ACCURACY, UNSEEN)
        if all(name in figures for figures in history)
    }
    write_whole(path, json.dumps({"plan": plan, **curves}).encode())
    return {name: curve[-1] for name, curve in curves.items()}


def read_run(path: Path, plan: dict[str, Any]) -> Figures | None:
    """Accuracies after the last epoch of a finished run, None where there is none.

    Raises:
        TrainingError: the file is not readable, or of another plan.
    """
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text())
        differing = differing_fields(saved["plan"], plan)
        figures = {name: float(saved[name][-1]) for name in (ACCURACY, UNSEEN) if name in saved}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise TrainingError(f"{path}: not a readable run ({error})") from None
    if differing:
        words = f"run of another ablation, {', '.join(differing)} differs"
        raise TrainingError(f"{path}: {words}; name another output folder or remove it")
    return figures
