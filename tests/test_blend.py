from pathlib import Path

import pytest
import torch

from search.__main__ import main
from service.artifact import load_artifact, save_artifact, write_card
from service.network import build_network
from tests.conftest import TINY


@pytest.fixture
def run(artifact: Path, tmp_path: Path) -> Path:
    """What a training ended at that started from `artifact`."""
    torch.manual_seed(5)
    facts = {"start_from": load_artifact(artifact).card["weights_sha256"], "seed": 3}
    facts |= {"temperature": 7.0, "robustness": {"none": 0.1}}
    save_artifact(tmp_path / "run", build_network(TINY), TINY, facts)
    (tmp_path / "run" / "history.csv").write_text("epoch\n1\n")
    return tmp_path / "run"


def blend(data: Path, start: Path, run: Path, share: float, out: Path) -> int:
    places = ["--data", str(data), "--start", str(start), "--run", str(run), "--out", str(out)]
    return main(["blend", "--share", str(share), "--device", "cpu", *places])


def test_a_blend_lies_between_start_and_end(
    data: Path, artifact: Path, run: Path, tmp_path: Path
) -> None:
    out, seeds = tmp_path / "out", {"mean": 0.5}
    write_card(artifact, load_artifact(artifact).card | {"seeds": seeds})
    assert blend(data, artifact, run, 0.25, out) == 0
    start, end, between = map(load_artifact, (artifact, run, out))
    for name, found in between.network.state_dict().items():
        if found.is_floating_point():
            first, last = (one.network.state_dict()[name] for one in (start, end))
            torch.testing.assert_close(found, 0.75 * first + 0.25 * last)
    assert between.card["blend"] == 0.25
    assert between.card["blended_sha256"] == end.card["weights_sha256"]
    assert between.card["seed"] == 3
    assert between.card["start_seeds"] == seeds
    # Its own figures, not the run's.
    assert between.card["temperature"] != 7.0
    assert len(between.card["robustness"]["accuracy"]) > 1
    assert (out / "history.csv").read_text() == "epoch\n1\n"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_that_is_not_between_is_refused(
    share: float, data: Path, artifact: Path, run: Path, tmp_path: Path
) -> None:
    assert blend(data, artifact, run, share, tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()


def test_a_training_that_started_elsewhere_is_refused(
    data: Path, artifact: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert blend(data, run, run, 0.5, tmp_path / "out") == 1
    assert f"{run}: was not trained from {run}" in capsys.readouterr().err


def test_what_is_blended_is_not_overwritten(
    data: Path, artifact: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_artifact(run).card
    for folder in (artifact, run, run.parent):
        assert blend(data, artifact, run, 0.5, folder) == 1
        assert "the folder of what is blended" in capsys.readouterr().err
    assert load_artifact(run).card == before


def test_a_blend_is_not_blended_again(
    data: Path, artifact: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_card(run, load_artifact(run).card | {"blend": 0.25})
    assert blend(data, artifact, run, 0.5, tmp_path / "out") == 1
    assert f"{run}: is a blend itself" in capsys.readouterr().err
