import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from search.__main__ import main
from search.claim import claim
from search.commands.dispatch import build_parser
from search.config import NETWORKS, RECIPES
from search.training.recipe import Recipe
from service.labels import LABELS
from tests.conftest import TINY
from tests.live import ROOT


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "compact", TINY)
    recipe = Recipe(epochs=2, batch_size=16, mirror=True, drop_duplicates=True)
    monkeypatch.setitem(RECIPES, "modern", recipe)


@pytest.mark.usefixtures("small")
def test_retrain_then_evaluate(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, predictions = tmp_path / "run", tmp_path / "predictions.csv"
    assert main(["retrain", "--data", str(data), "--out", str(out), "--device", "cpu"]) == 0
    words = capsys.readouterr().out
    assert "resume" not in words
    steps = (
        "epoch 2/2",
        "fits temperature",
        "measures accuracy under 18 corruptions",
        "artifact: ",
    )
    assert sorted(steps, key=words.index) == list(steps)
    artifact = out / "artifact"
    command = ["evaluate", "--data", str(data), "--artifact", str(artifact), "--device", "cpu"]
    assert main([*command, "--predictions", str(predictions)]) == 0
    card = json.loads((artifact / "card.json").read_text())
    figures = capsys.readouterr().out
    accuracy = card["metrics"]["validation"]["accuracy"]
    assert re.search(rf"^accuracy +{accuracy:.4f}", figures, re.MULTILINE)
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    assert len(rows) == 35
    assert all(row["predicted"] in LABELS for row in rows)
    assert len((artifact / "history.csv").read_text().splitlines()) == 3
    assert (out / "history.csv").read_bytes() == (artifact / "history.csv").read_bytes()
    assert card["trained_with"]["torch"] == torch.__version__


@pytest.mark.usefixtures("small")
def test_a_finished_training_that_is_asked_again_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["retrain", "--data", str(data), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "\nresuming after epoch 2 of 2\n" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_sigterm_while_a_network_is_measured_says_what_to_do(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def terminate(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    command = ["retrain", "--data", str(data), "--out", str(out), "--device", "cpu"]
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with monkeypatch.context() as patch:
        patch.setattr("search.stop._RAISED", [])
        patch.setattr("search.retraining.retrain.finish_artifact", terminate)
        try:
            assert main(command) == 143
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    assert "interrupted; run the same command again to resume" in capsys.readouterr().err
    assert not (out / "retrain.lock").exists()
    assert main(command) == 0


@pytest.mark.usefixtures("small")
def test_a_training_keeps_others_out_of_its_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    command = ["retrain", "--data", str(data), "--out", str(out), "--device", "cpu"]
    with claim(out / "retrain.lock"):
        assert main(command) == 1
    assert "another process trains here" in capsys.readouterr().err
    assert not list(out.iterdir())
    assert main(command) == 0
    assert {path.name for path in out.iterdir()} == {"artifact", "checkpoint.pt", "history.csv"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("retrain --trial 7", "--trial: only with --study"),
        ("retrain --trial 7 --storage other.db", "--trial, --storage: only with --study"),
        ("retrain --recipe trial", "--recipe trial needs --study"),
        ("retrain --teacher models/compact", "--teacher has no use in the recipe modern"),
        ("retrain --recipe distill", "--recipe distill needs --teacher"),
        ("report --study paper --split test", "--split: not with --study"),
        ("report --study paper --data faces", "--data: not with --study"),
        ("report --study paper --device cuda", "--device: not with --study"),
        ("report --data faces --storage other.db", "--storage: only with --study"),
        ("report", "needs --data"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    command: str, words: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command.split()
    needed = ["--out", str(tmp_path / "out"), *(["--data", str(data)] if name == "retrain" else [])]
    assert main([name, *needed, *options]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["Accurate", "a b", "", "-a", "a" * 64])
def test_a_name_that_the_store_does_not_take_is_told(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", f"--name={name}"]) == 1
    assert f"--name {name!r}: small letters" in capsys.readouterr().err


def test_a_network_by_name_and_one_of_a_study_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["retrain", "--data", "faces", "--out", "out", "--study", "paper"]
    with pytest.raises(SystemExit):
        main([*command, "--network", "compact"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_out_of_range_is_told(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["retrain", "--data", "faces", "--out", "out", "--seed", seed])
    assert f"--seed: '{seed}' is not a whole number from 0 to 4294967295" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_told_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    command = ["retrain", "--data", str(data), "--out", str(tmp_path / "file"), "--device", "cpu"]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "file" in told.err and not told.out


def test_a_start_from_another_network_names_the_way_out(
    data: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["retrain", "--data", str(data), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--start-from", str(artifact)]) == 1
    assert "--network or --study must name its own" in capsys.readouterr().err


def test_evaluate_says_what_its_times_are_of(
    data: Path, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--data", str(data), "--artifact", str(artifact), "--device", "cpu"]
    assert main(command) == 0
    words = capsys.readouterr().out
    for batch in (1, 64):
        assert re.search(rf"ms in batches of {batch} on cpu: median of \d+ passes, half", words)
    assert "other work on the machine slows it" in words


PRINT = (
    "import sys; from search.commands import dispatch as m; from tests.test_main import {0}; {0}(m)"
)


def print_much(module: Any) -> None:
    """A command that prints more than a pipe holds."""
    sys.exit(end_with(module, lambda _: print("line\n" * 100_000)))


def print_little(module: Any) -> None:
    """A command whose words are only written at its end."""
    sys.exit(end_with(module, lambda _: print("line")))


def lose_another_pipe(module: Any) -> None:
    """A command to which something else than its output breaks."""

    def lose(_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    sys.exit(end_with(module, lose))


def end_with(module: Any, command: Callable[[Any], None], **defaults: object) -> int:
    """The status of the program whose parser gives this command."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(command=command, **defaults)
    module.build_parser = lambda: parser
    return int(module.dispatch([]))


@pytest.mark.parametrize("command", [print_much, print_little])
def test_output_that_nobody_reads_ends_the_program_quietly(
    command: Callable[[Any], None],
) -> None:
    code = [sys.executable, "-c", PRINT.format(command.__name__)]
    process = subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE


def test_another_broken_pipe_is_an_error() -> None:
    code = [sys.executable, "-c", PRINT.format("lose_another_pipe")]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 32] Broken pipe\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "error: out of memory; it needs less beside it on the device\n",
        ),
        (InvalidCxxCompiler(), "error: cannot be compiled (No working C++ compiler found in"),
    ],
)
def test_memory_and_a_compiler_that_are_lacking_are_one_line(
    error: Exception,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("search.report.audit_report.write_audit", fail)
    assert main(["audit", "--data", "faces", "--out", "out"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(words) and told.count("\n") == 1


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of the code")

    monkeypatch.setattr("search.report.audit_report.write_audit", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["audit", "--data", "faces", "--out", "out"])


def test_processes_that_would_all_do_the_same_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert main(["run", "--data", "faces"]) == 1
    assert "torchrun spreads `retrain` only" in capsys.readouterr().err


IMPORTS_END = """
import sys

class End:
    def find_spec(self, name, *_):
        if name == "torch":
            raise KeyboardInterrupt

sys.meta_path.insert(0, End())
from search.__main__ import main
sys.exit(main())
"""


def test_ctrl_c_while_all_is_imported_is_no_traceback() -> None:
    command = [sys.executable, "-c", IMPORTS_END]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--max-flops=-1", "--max-flops: '-1' is not a whole number from 1"),
        ("--trials=1.5", "--trials: '1.5' is not a whole number from 1"),
        ("--trials=1e400", "--trials: '1e400' is not a whole number from 1"),
        ("--confirm=x", "--confirm: 'x' is not a whole number from 0"),
    ],
)
def test_a_number_that_is_none_is_told(
    option: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--data", "faces", option])
    assert words in capsys.readouterr().err


def test_large_numbers_may_be_short() -> None:
    options = build_parser().parse_args(["run", "--data", "faces", "--max-flops", "1.5e8"])
    assert options.max_flops == 150_000_000


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_help_of_run_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for told in (
        "--objectives NAMES accuracy, or accuracy,flops for",
        "path for SQLite (default: runs/search.db)",
        "the study's total (default: paper: 500, residual: 200, front: 200)",
        "of each trial (default: paper: 20, residual: 27, front: 9)",
        "0 for none (default: 6)",
        "(default: 3)",
    ):
        assert told in words


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def draw(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr("search.report.audit_report.write_audit", draw)
    assert main(["audit", "--data", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "matplotlib is missing; run: pip install" in capsys.readouterr().err
