"""A study whose workers and whose parent are killed at random comes out whole."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna import Study
from optuna.trial import TrialState

from search.study.sampler import SlotSampler
from search.study.slots import count_done, group_slots, is_done
from search.study.storage import connect
from search.study.study import find_study
from tests.conftest import make_faces, write_folder
from tests.live import ROOT
from tests.postgres import find_binaries, postgres
from tests.tiny_search import suggest_tiny

TRIALS, WORKERS = 16, 4


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[str]:
    """PostgreSQL where it is installed, as in CI; SQLite elsewhere."""
    if not find_binaries():
        yield str(tmp_path / "search.db")
        return
    with postgres() as url:
        yield url


def start(data: Path, storage: str) -> subprocess.Popen[str]:
    options = ["--trials", str(TRIALS), "--workers", str(WORKERS), "--epochs", "12"]
    options += ["--heartbeat", "2", "--confirm", "0", "--device", "cpu"]
    command = [sys.executable, "-m", "tests.tiny_search", "run", "--study", "s"]
    command += ["--data", str(data), "--storage", storage, *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.2)


def list_workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes that live, without multiprocessing's resource tracker."""
    return [child for child in psutil.Process(process.pid).children() if is_worker(child)]


def is_worker(child: psutil.Process) -> bool:
    try:
        return "--multiprocessing-fork" in child.cmdline()
    # Killed, and not waited for yet.
    except psutil.NoSuchProcess:
        return False


def open_when_made(process: subprocess.Popen[str], storage: str) -> Study:
    """The study, once the search has made it and a trial is done."""

    def has_begun() -> bool:
        names = optuna.get_all_study_names(connect(storage))
        return "s" in names and count_done(find_study(connect(storage), "s")[0], range(TRIALS)) > 0

    wait_until(process, has_begun)
    return find_study(connect(storage), "s")[0]


def kill_a_running_worker(
    process: subprocess.Popen[str], study: Study, chance: random.Random, number: int
) -> None:
    wait_until(process, lambda: any(t.state == TrialState.RUNNING for t in study.trials))
    chance.choice(list_workers(process)).send_signal(number)


def draw_parameters() -> list[dict[str, Any]]:
    """What each slot's number gives."""
    study = optuna.create_study(sampler=SlotSampler(0))
    trials = [study.ask() for _ in range(TRIALS)]
    for trial in trials:
        suggest_tiny(trial, 1)
    return [trial.params for trial in trials]


@pytest.mark.slow
def test_a_study_survives_killed_workers_and_a_killed_parent(tmp_path: Path, storage: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    write_folder(tmp_path / "data", "train", make_faces(140))
    write_folder(tmp_path / "data", "validation", make_faces(35, seed=1))
    chance = random.Random(0)
    process = start(tmp_path / "data", storage)
    study = open_when_made(process, storage)
    for number in (signal.SIGKILL, signal.SIGTERM):
        kill_a_running_worker(process, study, chance, number)
        time.sleep(chance.uniform(0.5, 1.5))
    process.kill()
    process.communicate()
    finished = {t.number: (t.values, t.params) for t in study.trials if t.state.is_finished()}
    assert 0 < count_done(study, range(TRIALS)) < TRIALS

    again = start(tmp_path / "data", storage)
    words, _ = again.communicate(timeout=200)
    assert again.returncode == 0, words
    assert f"{TRIALS}/{TRIALS} done" in words
    slots = group_slots(study.trials)
    assert sorted(slots) == list(range(TRIALS))
    assert all(sum(map(is_done, trials)) == 1 for trials in slots.values())
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == TRIALS
    assert any(len(trials) > 1 for trials in slots.values())
    for slot, wanted in enumerate(draw_parameters()):
        # A worker may be killed before it drew all of them.
        assert all(trial.params.items() <= wanted.items() for trial in slots[slot])
    after = {t.number: (t.values, t.params) for t in study.trials}
    assert finished.items() <= after.items()
