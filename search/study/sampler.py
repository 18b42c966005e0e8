"""Random sampling in which a slot of the study, not the process, fixes what is drawn."""

import hashlib
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial


class SlotSampler(BaseSampler):
    """Optuna's random sampler, seeded anew for each slot and parameter.

    `RandomSampler(seed)` draws the same values in every process that makes one: a resumed
    study or a second worker would repeat the first one's trials. Here the same slot gives
    the same configuration on any worker, and no two slots share their draws.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is drawn jointly."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is drawn jointly."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """One parameter, uniform over its distribution."""
        slot = trial.user_attrs.get("slot", trial.number)
        sampler = RandomSampler(seed=derive_seed(self.seed, slot, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def derive_seed(*parts: object) -> int:
    """A seed, 0 to 2**32 - 1, that differs wherever a part differs."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4])
