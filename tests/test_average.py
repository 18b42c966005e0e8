from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.__main__ import main
from search.average import check_members
from search.config import RECIPES
from search.errors import OptionsError
from search.retrain import retrain
from service.artifact import load_artifact
from tests.conftest import TINY

CPU = torch.device("cpu")
RECIPE = replace(RECIPES["modern"], epochs=2, batch_size=16, drop_duplicates=False)


@pytest.fixture
def members(data: Path, artifact: Path, tmp_path: Path) -> list[Path]:
    """Two networks trained on from one, with two seeds."""
    return [
        retrain(
            data,
            TINY,
            RECIPE,
            tmp_path / str(seed),
            name="tiny",
            seed=seed,
            device=CPU,
            start_from=artifact,
        )
        for seed in (0, 1)
    ]


def average(data: Path, out: Path, *members: Path) -> int:
    options = [option for member in members for option in ("--member", str(member))]
    return main(["average", "--data", str(data), "--device", "cpu", "--out", str(out), *options])


def test_the_mean_is_a_model_with_its_own_figures_and_its_members(
    data: Path, members: list[Path], tmp_path: Path
) -> None:
    assert average(data, tmp_path / "mean", *members) == 0
    one, other, mean = map(load_artifact, (*members, tmp_path / "mean"))
    weights = [model.network.state_dict() for model in (one, other, mean)]
    for name, tensor in weights[2].items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, (weights[0][name] + weights[1][name]) / 2, atol=1e-6)
    card = mean.card
    assert [member["seed"] for member in card["members"]] == [0, 1]
    accuracies = [model.card["metrics"]["validation"]["accuracy"] for model in (one, other)]
    assert card["members_accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
    half = abs(accuracies[0] - accuracies[1]) / 2
    assert card["members_accuracy"]["standard_error"] == pytest.approx(half)
    assert {"metrics", "calibration", "robustness", "temperature"} <= card.keys()
    assert "seed" not in card
    assert len((tmp_path / "mean" / "history.csv").read_text().splitlines()) == 3


def test_one_network_alone_or_twice_has_no_mean(
    data: Path, members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (members[:1], [members[0], members[0]], [*members, members[0]]):
        assert average(data, tmp_path / "mean", *given) == 1
        assert "at least two, and each one once" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def forget_start(card: dict[str, Any]) -> None:
    card["start_from"] = None


def change_recipe(card: dict[str, Any]) -> None:
    card["recipe"]["blur"] = 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [(forget_start, "not trained on from another"), (change_recipe, "differs from")],
)
def test_networks_that_lie_in_different_basins_are_refused(
    change: Callable[[dict[str, Any]], None], words: str, members: list[Path]
) -> None:
    loaded = [load_artifact(folder) for folder in members]
    change(loaded[0].card)
    with pytest.raises(OptionsError, match=words):
        check_members(members, loaded)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_faces_than_the_members_are_refused(
    split: str,
    data: Path,
    members: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    next((data / split / "sad").iterdir()).unlink()
    assert average(data, tmp_path / "mean", *members) == 1
    assert f"its {split} split is not" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_a_member_is_not_overwritten(
    data: Path, members: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (members[0] / "weights.safetensors").read_bytes()
    assert average(data, members[0], *members) == 1
    assert "one of the members" in capsys.readouterr().err
    assert (members[0] / "weights.safetensors").read_bytes() == before


def test_a_mean_is_no_member(
    data: Path, members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert average(data, tmp_path / "mean", *members) == 0
    assert average(data, tmp_path / "again", tmp_path / "mean", members[0]) == 1
    assert "give its members" in capsys.readouterr().err


def test_a_member_without_its_curve_leaves_no_half_artifact(
    data: Path, members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (members[1] / "history.csv").unlink()
    assert average(data, tmp_path / "mean", *members) == 1
    assert "history.csv" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
