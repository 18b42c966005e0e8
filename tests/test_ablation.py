import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.__main__ import main
from search.ablation import ablation as module
from search.ablation.ablation import Ablation, run_ablation
from search.ablation.effect import Effect
from search.ablation.ideas import BASE, pick_ideas
from search.claim import claim
from search.config import NETWORKS, RECIPES
from search.data.faces import Faces
from search.errors import DivergedError, TrainingError
from search.report.ablation_report import write_ablation_report
from search.training.plan import Plan, Run
from search.training.train import fit
from service.artifact import load_artifact, save_artifact
from service.network import build_network
from tests.conftest import TINY, make_faces

CPU = torch.device("cpu")
COMPACT = NETWORKS["compact"]
FAST = replace(RECIPES["modern"], epochs=1, batch_size=16, sizes=((1.0, 48),))


def ablate(faces: Faces, out: Path, ideas: tuple[str, ...], seeds: int = 2) -> list[Effect]:
    out.mkdir(exist_ok=True)
    return run_ablation(make_ablation(ideas, seeds), faces, make_faces(35, seed=1), out, CPU)


def make_ablation(ideas: tuple[str, ...] = (), seeds: int = 1) -> Ablation:
    return Ablation(network=TINY, recipe=FAST, ideas=ideas, seeds=seeds)


def test_finished_runs_are_kept_and_only_missing_ones_trained(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = ablate(faces, out, ("no-erase",))
    names = {path.name for path in out.iterdir()}
    assert names == {f"{idea}-{seed}.json" for idea in (BASE, "no-erase") for seed in (0, 1)}
    trained: list[Plan] = []

    def note(plan: Plan, *arguments: Any, **options: Any) -> Run:
        trained.append(plan)
        return fit(plan, *arguments, **options)

    monkeypatch.setattr(module, "fit", note)
    (out / "no-erase-1.json").unlink()
    assert ablate(faces, out, ("no-erase",)) == first
    assert [(plan.seed, plan.recipe.erase) for plan in trained] == [(1, 0.0)]
    more = ablate(faces, out, ("no-erase", "mixup"))
    assert [effect.idea for effect in more] == [BASE, "no-erase", "mixup"]
    assert len(trained) == 3


def test_processes_share_the_runs_and_each_waits_for_all(
    faces: Faces,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = ablate(faces, tmp_path / "whole", (), seeds=2)
    shared = tmp_path / "shared"
    shared.mkdir()
    waited: list[float] = []

    def finish_elsewhere(seconds: float) -> None:
        waited.append(seconds)
        assert (shared / "base-1.json").exists()
        shutil.copy(tmp_path / "whole" / "base-0.json", shared)

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=finish_elsewhere))
    with claim(shared / "base-0.lock"):
        assert ablate(faces, shared, (), seeds=2) == whole
    assert waited == [module.PAUSE]
    assert "runs are of other processes; waits" in capsys.readouterr().out


def test_a_killed_run_goes_on_from_its_checkpoint(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ablate(faces, tmp_path / "whole", (), seeds=1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_run", die)
        ablate(faces, tmp_path / "killed", (), seeds=1)
    assert (tmp_path / "killed" / "base-0.pt").exists()
    assert ablate(faces, tmp_path / "killed", (), seeds=1) == whole
    assert not (tmp_path / "killed" / "base-0.pt").exists()


def test_runs_of_another_ablation_are_refused(faces: Faces, tmp_path: Path) -> None:
    ablate(faces, tmp_path, (), seeds=1)
    with pytest.raises(
        TrainingError, match=r"base-0\.json: run of another .* train_digest differs"
    ):
        ablate(make_faces(77), tmp_path, (), seeds=1)
    with pytest.raises(TrainingError, match="validation_digest differs"):
        run_ablation(make_ablation(), faces, make_faces(35, seed=2), tmp_path, CPU)
    (tmp_path / "base-0.json").write_text("{")
    with pytest.raises(TrainingError, match="not a readable run"):
        ablate(faces, tmp_path, (), seeds=1)


def test_teachers_teach_only_recipes_that_distil(faces: Faces, tmp_path: Path) -> None:
    recipe = replace(FAST, distill=0.3)
    teachers = {"digest": build_network(TINY)}
    ablation = Ablation(
        network=TINY, recipe=recipe, ideas=("no-distill",), seeds=1, teachers=teachers
    )
    run_ablation(ablation, faces, make_faces(35, seed=1), tmp_path, CPU)
    plans = {
        idea: json.loads((tmp_path / f"{idea}-0.json").read_text())["plan"]
        for idea in (BASE, "no-distill")
    }
    assert plans[BASE]["teachers"] == ["digest"]
    assert plans["no-distill"]["teachers"] == []


def test_runs_go_on_from_the_weights_of_the_start(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, begun = build_network(TINY), []

    def note(*arguments: Any, **options: Any) -> Run:
        begun.append(options["initial"])
        return fit(*arguments, **options)

    monkeypatch.setattr(module, "fit", note)
    ablation = replace(make_ablation(("no-drop-path",)), start=("digest", first))
    validation = make_faces(35, seed=1)
    run_ablation(ablation, faces, validation, tmp_path, CPU)
    assert begun == [first, first]
    plan = json.loads((tmp_path / "no-drop-path-0.json").read_text())["plan"]
    assert plan["start_from"] == "digest"
    fresh = replace(ablation, start=None)
    with pytest.raises(TrainingError, match="start_from differs"):
        run_ablation(fresh, faces, validation, tmp_path, CPU)


def test_recipes_and_teachers_that_do_not_fit_are_told_before_the_first_run(
    faces: Faces, tmp_path: Path
) -> None:
    untaught = make_ablation(("more-distill",))
    with pytest.raises(TrainingError, match="more-distill learns from teachers; give --teacher"):
        run_ablation(untaught, faces, faces, tmp_path, CPU)
    useless = replace(make_ablation(), teachers={"digest": build_network(TINY)})
    with pytest.raises(TrainingError, match="--teacher has no use"):
        run_ablation(useless, faces, faces, tmp_path, CPU)
    plain = {"digest": build_network(NETWORKS["paper"])}
    recipe = replace(FAST, distill=0.5, sizes=((0.5, 32), (1.0, 48)))
    small = replace(make_ablation(("consistent",)), recipe=recipe, teachers=plain)
    with pytest.raises(TrainingError, match="consistent: a teacher takes faces of 48 pixels only"):
        run_ablation(small, faces, faces, tmp_path, CPU)
    assert not list(tmp_path.iterdir())


def test_ideas_of_the_network_change_it_alone(faces: Faces, tmp_path: Path) -> None:
    network = replace(TINY, drop_path=0.5)
    ablation = Ablation(network=network, recipe=FAST, ideas=("no-drop-path",), seeds=1)
    run_ablation(ablation, faces, make_faces(35, seed=1), tmp_path, CPU)
    base, changed = (
        json.loads((tmp_path / f"{idea}-0.json").read_text())["plan"]
        for idea in (BASE, "no-drop-path")
    )
    assert base["network"]["drop_path"] == 0.5
    base["network"]["drop_path"] = 0.0
    assert changed == base
    assert "no-drop-path" not in pick_ideas(NETWORKS["paper"], FAST)


def test_the_table_is_written_in_each_form(tmp_path: Path) -> None:
    base = (0.60, 0.61, 0.62)
    effects = [Effect(BASE, base, base), Effect("mixup", (0.65, 0.66, 0.67), base, unseen=0.64)]
    page = write_ablation_report(effects, tmp_path)
    row = "| mixup | mixup 0.2 | 3 | 66.00% ± 0.58 | +5.00 ± 0.82 points | yes | 64.00% |"
    assert row in (tmp_path / "ablation.md").read_text()
    with (tmp_path / "ablation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["kept"] == "True" and float(rows[1]["difference"]) == 0.05
    assert "data:image/png" in page.read_text()


def test_the_command_writes_the_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(NETWORKS, "compact", TINY)
    monkeypatch.setitem(RECIPES, "modern", FAST)
    command = ["ablate", "--data", str(data), "--out", str(tmp_path / "out"), "--seeds", "1"]
    command += ["--device", "cpu", "--epochs", "1"]
    assert main([*command, "--ideas", "adamw, mixup"]) == 0
    words = capsys.readouterr().out
    assert "run 3 of 3: mixup, seed 0" in words
    assert "| mixup | mixup 0.2 | 1 |" in words
    start = tmp_path / "start"
    save_artifact(start, build_network(TINY), TINY, {"name": "start"})
    command[command.index("--out") + 1] = str(tmp_path / "second")
    assert main([*command, "--ideas", "mixup", "--start-from", str(start)]) == 0
    digest = load_artifact(start).card["weights_sha256"]
    assert digest in (tmp_path / "second" / "mixup-0.json").read_text()
    assert main([*command, "--ideas", "magic"]) == 1
    assert "error: no idea magic" in capsys.readouterr().err


def test_a_run_that_diverges_is_named(faces: Faces, tmp_path: Path) -> None:
    recipe = replace(FAST, optimizer="sgd", learning_rate=1e30)
    ablation = Ablation(network=TINY, recipe=recipe, ideas=("no-erase",), seeds=1)
    with pytest.raises(TrainingError, match=r"^base, seed 0: the loss .* is not finite$"):
        run_ablation(ablation, faces, make_faces(35, seed=1), tmp_path, CPU)
    words = "no-erase, seed 3: high; --ideas without no-erase leaves it out"
    with pytest.raises(DivergedError, match=words), module.naming("no-erase", 3):
        raise DivergedError("high")
