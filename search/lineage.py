"""From a study's trial to the network that is trained for long."""

from dataclasses import asdict, dataclass
from typing import Any

from optuna import Study
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from search.config import Recipe, recipe_from_dict
from search.confirmation import best_trials, confirmation_name, rank_confirmed
from search.errors import StudyError
from search.outcome import read_accuracy, tell_none_complete
from search.slots import count_settled
from search.storage import connect
from search.study import find_study
from service.network import NetworkConfig, config_from_dict


@dataclass(frozen=True)
class Chosen:
    """A trial's network.

    Attributes:
        name: of the model to be.
        network: its configuration.
        recipe: how the trial trained it.
        lineage: study, trial, its accuracy and what chose it, ready for JSON.
    """

    name: str
    network: NetworkConfig
    recipe: Recipe
    lineage: dict[str, Any]


def find_trial(storage: str, name: str, number: int | None = None) -> Chosen:
    """A trial of a study, by default the best confirmed one, or the best where none is.

    Raises:
        StudyError: there is no such storage, study or complete trial.
    """
    connection = connect(storage, create=False)
    study, protocol = find_study(connection, name)
    trial, chosen_by = pick_trial(study, find_confirmation(connection, name), number)
    return Chosen(
        name=f"{name}-{trial.number}",
        network=config_from_dict(trial.user_attrs["network"]),
        recipe=recipe_from_dict(trial.user_attrs["recipe"]),
        lineage={
            "study": name,
            "trial": trial.number,
            "validation_accuracy": read_accuracy(trial),
            "chosen_by": chosen_by,
            "trials": count_settled(study),
            "protocol": asdict(protocol),
        },
    )


def pick_trial(
    study: Study, confirmation: Study | None, number: int | None
) -> tuple[FrozenTrial, str]:
    """The trial and what chose it: `number`, `confirmation` or `search`.

    Raises:
        StudyError: there is no such complete trial.
    """
    complete = {trial.number: trial for trial in best_trials(study)}
    if number is not None:
        if number not in complete:
            raise StudyError(f"study {study.study_name} has no complete trial {number}")
        return complete[number], "number"
    if not complete:
        raise StudyError(tell_none_complete(study))
    ranked = rank_confirmed(study, confirmation) if confirmation else []
    if ranked:
        return complete[ranked[0].trial], "confirmation"
    return next(iter(complete.values())), "search"


def find_confirmation(storage: RDBStorage, name: str) -> Study | None:
    """The study that confirms the named one, or None before it was begun."""
    try:
        return find_study(storage, confirmation_name(name))[0]
    except StudyError:
        return None
