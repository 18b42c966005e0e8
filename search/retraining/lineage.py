"""From a study's trial to the network that is trained for long."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from search.study.confirmation import Confirmed, find_confirmation, pick_trial, rank_confirmed
from search.study.outcome import read_accuracy
from search.study.slots import count_settled
from search.study.storage import connect, lost_storage_told
from search.study.study import find_study
from search.training.recipe import Recipe, recipe_from_dict
from service.network import NetworkConfig, config_from_dict


@dataclass(frozen=True)
class Chosen:
    """A trial's network.

    Attributes:
        name: of the model to be.
        network: its configuration.
        recipe: how the trial trained it.
        lineage: study, trial, its accuracy, what chose it, and its accuracies on other seeds
            where it was confirmed; ready for JSON.
    """

    name: str
    network: NetworkConfig
    recipe: Recipe
    lineage: dict[str, Any]


@lost_storage_told()
def find_trial(storage: str, name: str, number: int | None = None) -> Chosen:
    """A trial of a study, by default the best confirmed one, or the best where none is.

    Raises:
        StudyError: there is no such storage, study or complete trial.
    """
    connection = connect(storage, create=False)
    study, protocol = find_study(connection, name)
    confirmation = find_confirmation(connection, name)
    ranked = rank_confirmed(study, confirmation) if confirmation else []
    trial, chosen_by = pick_trial(study, ranked, number)
    return Chosen(
        name=f"{name}-{trial.number}",
        network=config_from_dict(trial.user_attrs["network"]),
        recipe=recipe_from_dict(trial.user_attrs["recipe"]),
        lineage={
            "study": name,
            "trial": trial.number,
            "validation_accuracy": read_accuracy(trial),
            "chosen_by": chosen_by,
            **tell_confirmation(ranked, trial),
            "trials": count_settled(study),
            "protocol": asdict(protocol),
        },
    )


def tell_confirmation(ranked: Sequence[Confirmed], trial: FrozenTrial) -> dict[str, Any]:
    """What confirmed the trial, as a part of its lineage; empty where nothing did."""
    found = next((confirmed for confirmed in ranked if confirmed.trial == trial.number), None)
    if found is None:
        return {}
    error = None if math.isnan(found.standard_error) else found.standard_error
    facts = {"accuracies": list(found.values), "mean": found.mean, "standard_error": error}
    return {"confirmation": facts}
