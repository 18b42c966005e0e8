import optuna
import pytest
from optuna.trial import FixedTrial

from search.sampler import SlotSampler
from search.space import SPACES, suggest_paper
from service.network import PlainConfig, ResidualConfig, build_network, count_parameters

DRAWS = 10_000


def draw(space: str, count: int) -> list[optuna.Trial]:
    study = optuna.create_study(sampler=SlotSampler(0))
    trials = []
    for _ in range(count):
        trial = study.ask()
        SPACES[space](trial, 20)
        trials.append(trial)
    return trials


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_the_papers_best_network_has_its_printed_size() -> None:
    parameters = {
        "first_kernels": 256,
        "further_layers": 4,
        **{f"kernels_{i}": n for i, n in enumerate((512, 384, 192, 384), 1)},
        "conv_dropout_tenths": 2,
        "dense_dropout_tenths": 4,
    }
    candidate = suggest_paper(FixedTrial(parameters), 20)  # type: ignore[arg-type]
    assert count_parameters(build_network(candidate.network)) == 5_173_959
    assert candidate.recipe.optimizer == "adam"
    assert (candidate.recipe.learning_rate, candidate.recipe.batch_size) == (1e-3, 128)


def test_the_papers_space_is_drawn_whole_and_never_left() -> None:
    study = optuna.create_study(sampler=SlotSampler(3))
    seen: dict[str, set[object]] = {"first": set(), "further": set(), "count": set()}
    dropouts: set[float] = set()
    for slot in range(DRAWS):
        frozen = optuna.create_trial(
            state=optuna.trial.TrialState.RUNNING, user_attrs={"slot": slot}
        )
        candidate = suggest_paper(_Drawn(study, frozen), 20)  # type: ignore[arg-type]
        assert isinstance(candidate.network, PlainConfig)
        first, *further = candidate.network.channels
        seen["first"].add(first)
        seen["further"].update(further)
        seen["count"].add(len(further))
        dropouts |= {candidate.network.conv_dropout, candidate.network.dense_dropout}
    assert seen["first"] == set(range(32, 257, 32))
    assert seen["further"] == set(range(64, 513, 64))
    assert seen["count"] == {0, 1, 2, 3, 4}
    assert dropouts == {0.1, 0.2, 0.3, 0.4}


class _Drawn:
    """A trial without a storage, so that ten thousand take a moment."""

    def __init__(self, study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> None:
        self.study, self.frozen = study, frozen

    def suggest_int(self, name: str, low: int, high: int, step: int = 1) -> int:
        distribution = optuna.distributions.IntDistribution(low, high, step=step)
        sampler = self.study.sampler
        return int(sampler.sample_independent(self.study, self.frozen, name, distribution))


def test_the_residual_space_builds() -> None:
    for trial in draw("residual", 100):
        candidate = SPACES["residual"](trial, 20)
        assert isinstance(candidate.network, ResidualConfig)
        assert set(trial.params) > {"width", "stem_stride", "weight_decay", "schedule"}


def test_a_slot_fixes_its_configuration() -> None:
    one, other = draw("residual", 12), draw("residual", 12)
    assert [t.params for t in one] == [t.params for t in other]
    assert len({str(sorted(t.params.items())) for t in one}) == 12
