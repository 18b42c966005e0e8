import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.config import RECIPES
from search.data.faces import Faces
from search.errors import StoppedError, TrainingError
from search.stop import StopWish
from search.training import train as module
from search.training.checkpoint import Clock, write_checkpoint
from search.training.epoch import resume_epoch, train_epoch
from search.training.inference import measure, on_device, predict_logits
from search.training.plan import Plan, current_commit, start
from search.training.recipe import Recipe
from search.training.step import make_step, train_step, update_average
from search.training.targets import Tutor, make_targets
from search.training.train import fit
from service.network import PlainConfig, build_network
from tests.conftest import TINY, make_faces

CPU = torch.device("cpu")
FAST = replace(RECIPES["modern"], epochs=4, batch_size=16, sizes=((0.5, 32), (1.0, 48)))


def plan_for(faces: Faces, recipe: Recipe = FAST, seed: int = 0) -> Plan:
    return Plan(TINY, recipe, seed, faces.digest())


class KilledError(Exception):
    """Stands for a kill while an epoch is told."""


def test_a_killed_run_resumes_to_the_same_weights(faces: Faces, tmp_path: Path) -> None:
    def kill(history: list[dict[str, float]]) -> None:
        if len(history) == 2:
            raise KilledError

    plan, checkpoint = plan_for(faces), tmp_path / "checkpoint.pt"
    whole = fit(plan, faces, faces, CPU)
    with pytest.raises(KilledError):
        fit(plan, faces, faces, CPU, checkpoint=checkpoint, clock=Clock(0), report=kill)
    begun: list[float] = []
    resumed = fit(plan, faces, faces, CPU, checkpoint=checkpoint, begin=begun.append)
    # An epoch is told before it is kept.
    assert begun == [1]
    assert len(resumed.history) == 4
    for one, other in ((whole.network, resumed.network), (whole.average, resumed.average)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_stop_while_the_last_checkpoint_is_written_is_heeded(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_stop(*arguments: Any) -> None:
        write_checkpoint(*arguments)
        signal.raise_signal(signal.SIGTERM)

    plan, checkpoint = plan_for(faces, replace(FAST, epochs=1)), tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_checkpoint", write_and_stop)
        with pytest.raises(StoppedError):
            fit(plan, faces, faces, CPU, checkpoint=checkpoint)
    assert fit(plan, faces, faces, CPU, checkpoint=checkpoint).finished


def test_a_finished_run_keeps_the_machine_that_trained_it(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, checkpoint = plan_for(faces, replace(FAST, epochs=1)), tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        patch.setattr(module, "tell_machine", lambda _: {"device": "another"})
        fit(plan, faces, faces, CPU, checkpoint=checkpoint)
    assert fit(plan, faces, faces, CPU, checkpoint=checkpoint).machine == {"device": "another"}


def test_an_epochs_speed_counts_the_time_before_a_stop(faces: Faces) -> None:
    plan = plan_for(faces)
    run = start(plan, CPU)
    images, labels = on_device(faces, CPU)
    targets, step = make_targets(FAST, images, labels, []), make_step(run)
    stop = StopWish()
    stop.signal = 15
    assert not train_epoch(run, plan, step, images, labels, targets=targets, stop=stop)
    assert run.pause["seconds"] > 0
    run.pause["seconds"] = 1000.0
    figures = train_epoch(run, plan, step, images, labels, targets=targets, stop=StopWish())
    assert figures["images_per_second"] < 0.07


def test_a_run_may_end_within_its_warm_up(faces: Faces) -> None:
    recipe = replace(FAST, epochs=1, warmup_epochs=1, sizes=((1.0, 32),))
    assert len(fit(plan_for(faces, recipe), faces, faces, CPU).history) == 1


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("adam", 3e-3), ("adamw", 3e-3), ("muon", 0.02), ("sgd", 0.05)]
)
def test_it_learns(optimizer: str, rate: float) -> None:
    recipe = Recipe(epochs=12, batch_size=16, optimizer=optimizer, learning_rate=rate)  # type: ignore[arg-type]
    run = fit(plan_for(make_faces(210), recipe), make_faces(210), make_faces(70, 1), CPU)
    assert run.history[-1]["loss"] < 0.7 * run.history[0]["loss"]
    assert run.history[-1]["validation_accuracy"] > 0.4


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (plan_for(make_faces(70), seed=1), "seed"),
        (plan_for(make_faces(70, 5)), "train_digest"),
        (plan_for(make_faces(70), replace(FAST, rotation=1)), "recipe"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    faces: Faces, tmp_path: Path, other: Plan, words: str
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    fit(plan_for(faces, replace(FAST, epochs=1)), faces, faces, CPU, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(TrainingError, match=words):
        fit(other, faces, faces, CPU, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_other_validation_faces_is_refused(faces: Faces, tmp_path: Path) -> None:
    checkpoint, plan = tmp_path / "checkpoint.pt", plan_for(faces, replace(FAST, epochs=1))
    fit(plan, faces, faces, CPU, checkpoint=checkpoint)
    with pytest.raises(TrainingError, match="validation_digest differs"):
        fit(plan, faces, make_faces(35, seed=2), CPU, checkpoint=checkpoint)


def test_a_finished_run_is_not_taught_again(
    faces: Faces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, plan = tmp_path / "checkpoint.pt", plan_for(faces, replace(FAST, epochs=1))
    plan = replace(plan, recipe=replace(plan.recipe, distill=0.5))
    teacher = build_network(TINY)
    for words in ("70 faces are answered by each teacher first\n", ""):
        run = fit(plan, faces, faces, CPU, teachers=[teacher], checkpoint=checkpoint)
        assert run.epoch == 1
        assert capsys.readouterr().out == words


def test_a_torn_checkpoint_is_named(faces: Faces, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"torn")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt"):
        fit(plan_for(faces), faces, faces, CPU, checkpoint=checkpoint)


def test_a_loss_that_is_not_finite_stops_the_run(faces: Faces) -> None:
    recipe = Recipe(epochs=2, batch_size=16, optimizer="muon", learning_rate=1e30)
    with pytest.raises(TrainingError, match="not finite"):
        fit(plan_for(faces, recipe), faces, faces, CPU)


def test_a_run_goes_on_from_given_weights(faces: Faces) -> None:
    recipe = replace(FAST, epochs=1, learning_rate=0.0, ema_decay=0.0)
    first = fit(plan_for(faces), faces, faces, CPU).average
    plan = replace(plan_for(faces, recipe, seed=7), start_from="given")
    second = fit(plan, faces, faces, CPU, initial=first).network
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("decay", "step", "moved"), [(0.998, 0, 0.9), (0.998, 8, 0.5), (0.75, 999, 0.25), (0.0, 999, 1)]
)
def test_the_average_follows_the_weights_more_and_more_slowly(
    decay: float, step: int, moved: float
) -> None:
    run = start(Plan(TINY, FAST, 0, ""), CPU)
    before = [tensor.clone() for tensor in run.moving[0]]
    for tensor in (*run.moving[1], *run.counters[1]):
        tensor.add_(1)
    update_average(run, decay, step)
    for old, new in zip(before, run.moving[0], strict=True):
        torch.testing.assert_close(new, old + moved)
    assert all(count == 1 for count in run.counters[0])


@pytest.mark.parametrize("decay", [0.9, 0.0])
def test_a_run_is_measured_by_the_average_of_its_recipe(faces: Faces, decay: float) -> None:
    recipe = replace(FAST, epochs=1, ema_decay=decay, sizes=((1.0, 32),))
    run = fit(plan_for(faces, recipe), faces, faces, CPU)
    averages, weights = run.moving
    assert all(map(torch.equal, averages, weights)) == (decay == 0)
    figures = measure(run.average, *on_device(faces, CPU), torch.zeros(70, dtype=torch.bool))
    assert figures.items() <= run.history[-1].items()


def test_targets_mix_labels_and_teachers(faces: Faces) -> None:
    images, labels = on_device(faces, CPU)
    teacher = start(plan_for(faces), CPU).network.eval()
    recipe = replace(FAST, label_smoothing=0.0, distill=0.25)
    targets = make_targets(recipe, images, labels, [teacher])
    answers = [predict_logits(teacher, view).softmax(1) for view in (images, images.flip(3))]
    expected = 0.75 * torch.eye(7)[labels] + 0.125 * sum(answers)
    # Teachers answer in bfloat16 where the hardware has it.
    torch.testing.assert_close(targets, expected, atol=5e-3, rtol=0)
    smoothed = make_targets(replace(FAST, label_smoothing=0.7), images, labels, [])
    torch.testing.assert_close(smoothed, 0.3 * torch.eye(7)[labels] + 0.1)


def test_a_tutor_answers_for_the_faces_at_hand_as_they_are() -> None:
    config = replace(TINY, soften=0.3)
    teacher = start(Plan(config, FAST, 0, ""), CPU).network.eval()
    hard = start(Plan(TINY, FAST, 0, ""), CPU).network.eval()
    recipe = replace(FAST, distill=0.25, consistent=True)
    batch, targets = torch.randn(5, 1, 40, 40), torch.eye(7)[:5]
    expected, soft = 0.75 * targets + 0.25 * hard(batch).softmax(1), teacher(batch)
    mixed = Tutor(recipe, [teacher], CPU)(batch, targets)
    torch.testing.assert_close(mixed, expected, atol=5e-3, rtol=0)
    # The next run of an ablation has the same teacher.
    assert torch.equal(teacher(batch), soft) and not torch.equal(hard(batch), soft)


def test_a_tutor_must_take_the_faces_sizes() -> None:
    recipe = replace(FAST, distill=0.25, consistent=True, sizes=((0.5, 32), (1.0, 48)))
    plain = build_network(PlainConfig(channels=(4,)))
    for sizes in (recipe.sizes, ((1.0, 32),)):
        with pytest.raises(TrainingError, match="takes faces of 48 pixels only"):
            Tutor(replace(recipe, sizes=sizes), [plain], CPU)
    assert Tutor(replace(recipe, sizes=((1.0, 48),)), [plain], CPU)


def test_with_the_whole_share_only_the_teachers_count(faces: Faces) -> None:
    recipe = replace(FAST, distill=1.0, consistent=True)
    teacher = start(plan_for(faces, seed=1), CPU).network.eval()
    batch, labels = torch.randn(16, 1, 48, 48), torch.arange(16) % 7
    losses = []
    for shift in (0, 1):
        run = start(plan_for(faces), CPU)
        run.tutor = Tutor(recipe, [teacher], CPU)
        losses.append(train_step(run, batch, labels, torch.eye(7)[(labels + shift) % 7])[0])
    assert losses[0] == losses[1]


def test_a_consistent_run_needs_teachers(faces: Faces) -> None:
    recipe = replace(FAST, distill=0.5, consistent=True)
    with pytest.raises(TrainingError, match="need each other"):
        fit(plan_for(faces, recipe), faces, faces, CPU)
    without = replace(recipe, epochs=1, distill=0.0)
    assert fit(plan_for(faces, without), faces, faces, CPU).history


def test_a_run_from_a_gpu_goes_on_without_one(faces: Faces) -> None:
    first, second = (start(plan_for(faces), CPU) for _ in range(2))
    for optimizer in first.optimizers:
        for group in optimizer.param_groups:
            group["lr"], group["capturable"] = torch.tensor(0.5), True
    second.restore(first.state())
    groups = [group for optimizer in second.optimizers for group in optimizer.param_groups]
    assert [(group["lr"], group["capturable"]) for group in groups] == [(0.5, False)] * len(groups)


def test_an_epoch_from_a_gpu_goes_on_without_one(faces: Faces) -> None:
    """Its generator's state, of another kind, is left alone; the epoch goes on at its step."""
    run = start(plan_for(faces), CPU)
    sums, words = torch.ones(2), torch.zeros(16, dtype=torch.uint8)
    states = {"generator": words, "cpu": torch.get_rng_state(), "cuda": words}
    run.pause = {"step": 3, "totals": sums, "seconds": 7.0, **states}
    generator = torch.Generator().manual_seed(5)
    step, totals, seconds = resume_epoch(run, generator)
    assert (step, totals.tolist(), seconds) == (3, [1.0, 1.0], 7.0)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(5).get_state())


def test_accuracy_is_told_without_images_of_train_too(faces: Faces) -> None:
    other = make_faces(35, seed=1)
    both = Faces(
        np.concatenate([faces.images, other.images]), np.concatenate([faces.labels, other.labels])
    )
    whole = fit(plan_for(faces), faces, both, CPU).history[-1]
    alone = fit(plan_for(faces), faces, other, CPU).history[-1]
    assert whole["unseen_accuracy"] == pytest.approx(alone["validation_accuracy"])
    assert "unseen_accuracy" not in fit(plan_for(faces), faces, faces, CPU).history[-1]


@pytest.mark.parametrize(("distill", "teachers"), [(0.5, 0), (0.0, 1)])
def test_distilling_and_teachers_need_each_other(
    faces: Faces, distill: float, teachers: int
) -> None:
    network = start(plan_for(faces), CPU).network
    with pytest.raises(TrainingError, match="need each other"):
        fit(
            plan_for(faces, replace(FAST, distill=distill)),
            faces,
            faces,
            CPU,
            teachers=[network] * teachers,
        )


def test_the_seed_fixes_the_weights(faces: Faces) -> None:
    first, second, third = (
        next(start(plan_for(faces, seed=seed), CPU).network.parameters()) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_container_without_git_names_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("REVISION", raising=False)
    assert current_commit() == "unknown"
    monkeypatch.setenv("REVISION", "abc123")
    assert current_commit() == "abc123"
