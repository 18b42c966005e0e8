"""The best trials again with other seeds: the best of many tries on one split is part luck."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from optuna import Study, create_trial
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.errors import StudyError
from search.evaluation.seeds import OverSeeds
from search.study.curve import has_several
from search.study.outcome import front_trials, read_accuracy, tell_none_complete
from search.study.sampler import derive_seed
from search.study.slots import group_slots, settled_trials
from search.study.space import used_choices
from search.study.study import find_study

SEEDS_PER_SLOT = 1000
"""Slot of a confirmation: the confirmed slot times this, plus the index of the seed."""


@dataclass(frozen=True)
class Confirmed(OverSeeds):
    """A configuration's accuracy over seeds that did not choose it.

    Attributes:
        trial: number of the trial in the search.
        searched: the validation accuracy that it was chosen for.
        flops: of a forward pass on one image.
        values: validation accuracies of the other seeds.
        unseen: their mean on the validation images that are not also in train; None where a
            trial does not tell it.
    """

    trial: int
    searched: float
    flops: int
    values: tuple[float, ...]
    unseen: float | None = None


def tell_confirmed(confirmed: Confirmed) -> str:
    """One configuration's line; a single seed has no standard error."""
    error = "" if len(confirmed.values) < 2 else f" ± {confirmed.standard_error:.2%}"
    seeds = f"{len(confirmed.values)} seed{'s' * (len(confirmed.values) > 1)}"
    return (
        f"trial {confirmed.trial}: searched {confirmed.searched:.2%}, confirmed "
        f"{confirmed.mean:.2%}{error} ({seeds}), {confirmed.flops / 1e6:,.0f} MFLOP"
    )


def tell_name(trial: FrozenTrial) -> str:
    """A trial's name to its reader: in a confirmation the search's trial and which of its seeds."""
    if "confirms" not in trial.user_attrs:
        return f"trial {trial.number}"
    seed = trial.user_attrs["slot"] % SEEDS_PER_SLOT + 1
    return f"trial {trial.user_attrs['confirms']} seed {seed}"


def confirmation_name(name: str) -> str:
    """Name of the study that confirms the named one."""
    return f"{name}-confirmation"


def best_trials(study: Study, count: int | None = None) -> list[FrozenTrial]:
    """The complete trials of the highest values, best first; the earlier one on a tie."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-read_accuracy(trial), trial.number))[:count]


def pick_for_confirmation(study: Study, count: int) -> list[FrozenTrial]:
    """The best `count` configurations; of several objectives that many of the Pareto front.

    One that was drawn twice counts once, by its better trial. A longer front is thinned evenly
    from its cheapest to its most accurate trial, because the most accurate ones alone would all
    be dear.
    """
    if not has_several(study):
        return drop_repeats(best_trials(study))[:count]
    front = front_trials(study)
    if len(front) <= count:
        return front
    last = len(front) - 1
    places = {round(last - last * place / max(1, count - 1)) for place in range(count)}
    return [front[place] for place in sorted(places)]


def drop_repeats(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without those of an earlier one's configuration."""
    first: dict[str, FrozenTrial] = {}
    for trial in trials:
        first.setdefault(str(sorted(used_choices(trial).items())), trial)
    return list(first.values())


def confirmation_templates(
    trials: Sequence[FrozenTrial], seeds: int, study_seed: int
) -> dict[int, FrozenTrial]:
    """The waiting trials, by slot, that train each configuration with `seeds` new seeds."""
    templates = {}
    for trial in trials:
        for index in range(seeds):
            slot = trial.user_attrs["slot"] * SEEDS_PER_SLOT + index
            attributes = {
                "slot": slot,
                "confirms": trial.number,
                "seeds": seeds,
                "seed": derive_seed(study_seed, "confirmation", slot),
            }
            templates[slot] = create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
            )
    return templates


def check_origin(study: Study, confirmation: Study) -> None:
    """Refuse a confirmation of an earlier study of this name, which was removed since then.

    Raises:
        StudyError: a trial of it has not the parameters of the trial that it is to confirm.
    """
    trials = {trial.number: trial.params for trial in best_trials(study)}
    for trial in confirmation.get_trials(deepcopy=False):
        if trial.params and trial.params != trials.get(trial.user_attrs["confirms"]):
            name = confirmation.study_name
            raise StudyError(
                f"study {name} confirms trials of another study {study.study_name}, which was "
                "removed since then; remove it, too"
            )


def rank_confirmed(study: Study, confirmation: Study) -> list[Confirmed]:
    """The confirmed configurations, highest mean first; last those whose seeds are not all done.

    A seed is done, too, where its training failed for good.

    Raises:
        StudyError: as `check_origin`.
    """
    check_origin(study, confirmation)
    begun = confirmation.get_trials(deepcopy=False)
    repeats: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in begun:
        if trial.state == TrialState.COMPLETE:
            repeats[trial.user_attrs["confirms"]].append(trial)
    trials = {trial.number: trial for trial in best_trials(study)}
    ranked = [_confirm(trials[number], found) for number, found in repeats.items()]
    settled = settled_trials(confirmation, group_slots(begun))
    done = Counter(trial.user_attrs["confirms"] for trial in settled)
    # Another call may ask for more seeds, of those that are the best by then. Trials of older
    # versions do not tell how many there are to be.
    most, wanted = max(done.values(), default=0), Counter[int]()
    for trial in begun:
        number = trial.user_attrs["confirms"]
        wanted[number] = max(wanted[number], trial.user_attrs.get("seeds", most))
    return sorted(ranked, key=lambda c: (done[c.trial] < wanted[c.trial], -c.mean))


def _confirm(trial: FrozenTrial, repeats: Sequence[FrozenTrial]) -> Confirmed:
    unseen = [repeat.user_attrs.get("unseen_accuracy") for repeat in repeats]
    told = [value for value in unseen if value is not None]
    return Confirmed(
        trial=trial.number,
        searched=read_accuracy(trial),
        flops=trial.user_attrs["flops"],
        values=tuple(map(read_accuracy, repeats)),
        unseen=statistics.fmean(told) if len(told) == len(repeats) else None,
    )


def find_confirmation(storage: RDBStorage, name: str) -> Study | None:
    """The study that confirms the named one, or None before it was begun."""
    try:
        return find_study(storage, confirmation_name(name))[0]
    except StudyError:
        return None


def pick_trial(
    study: Study, ranked: Sequence[Confirmed], number: int | None
) -> tuple[FrozenTrial, str]:
    """The trial and what chose it: `number`, `confirmation` or `search`.

    Args:
        study: of the trials.
        ranked: its confirmed configurations, best first.
        number: of the trial to take, if not the best.

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
    if ranked:
        return complete[ranked[0].trial], "confirmation"
    return next(iter(complete.values())), "search"
