"""The Makefile's targets that need no environment of their own, and how they fail."""

import os
import shutil
import socket
import subprocess
import sys
from errno import EADDRINUSE
from pathlib import Path

import pytest

from service.artifact import load_artifact
from tests.conftest import make_faces, write_folder
from tests.live import ROOT

OUT_OF_REACH = 'echo "a warning" >&2; echo "ERROR: cannot look up a2wsgi" >&2; exit 1'


def run_make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--file", str(ROOT / "Makefile"), "-o", ".venv/develop.stamp", *words]
    # Without the flags and variables of a make that runs the tests.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    variables.pop("AUDIT", None)
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("found", "words", "fails", "said"),
    [
        ("exit 0", (), False, "no known vulnerabilities"),
        ("echo 'torch 1 CVE-1'; exit 1", ("AUDIT=skip",), True, "torch 1 CVE-1"),
        (OUT_OF_REACH, (), True, "not audited: ERROR: cannot look up a2wsgi"),
        (OUT_OF_REACH, ("AUDIT=skip",), False, "not audited: ERROR: cannot look up a2wsgi"),
    ],
)
def test_an_audit_that_finds_or_cannot_look_fails(
    tmp_path: Path, found: str, words: tuple[str, ...], fails: bool, said: str
) -> None:
    # In place of the one that would install pip-audit and run it.
    uv = tmp_path / ".venv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(f"#!/bin/sh\n{found}\n")
    uv.chmod(0o755)
    done = run_make(tmp_path, "audit", *words)
    assert bool(done.returncode) is fails
    assert done.stdout.strip() == said


def test_ci_skips_an_audit_that_cannot_be_made_and_no_other() -> None:
    assert "release-check AUDIT=skip" in (ROOT / ".ci" / "run").read_text()
    assert "AUDIT" not in (ROOT / "Makefile").read_text().split("release-check:")[1]


@pytest.mark.parametrize(
    ("target", "image"),
    [
        ("image", "there/faces:1-cuda"),
        ("run-image", "there/faces:1-cuda"),
        ("search-image", "there/faces-search:1-cuda"),
    ],
)
def test_an_image_has_the_name_that_is_wanted(target: str, image: str) -> None:
    words = ("IMAGE=there/faces", "TAG=1-cuda", "ENGINE=podman")
    assert image in run_make(ROOT, "--dry-run", target, *words).stdout.split()


@pytest.mark.parametrize(
    ("words", "host"), [((), "127.0.0.1"), (("HOST=0.0.0.0", "PORT=3000"), "0.0.0.0")]
)
def test_only_this_machine_is_served_unless_another_address_is_named(
    words: tuple[str, ...], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As tcsh and conda's compilers set it.
    monkeypatch.setenv("HOST", "x86_64-conda-linux-gnu")
    text = run_make(ROOT, "--dry-run", "-o", "model", "serve", *words).stdout
    assert f"serve service.app:FacialEmotion --host {host} --port 3000" in text
    assert f"create_server(('{host}', 3000))" in text
    text = run_make(ROOT, "--dry-run", "run-image", "ENGINE=podman", *words).stdout
    assert f"--publish {host}:3000:3000 " in text


def test_a_port_that_cannot_be_had_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_make(tmp_path, "-o", "model", "serve", f"PORT={port}")
    assert done.returncode
    ending = "; another: make serve PORT=..., HOST=...\n"
    assert done.stdout == (
        f"error: port {port} of 127.0.0.1: [Errno {EADDRINUSE}] Address already in use{ending}"
    )
    done = run_make(tmp_path, "-o", "model", "serve", "PORT=80000")
    assert done.stdout == f"error: port 80000 of 127.0.0.1: port must be 0-65535.{ending}"
    assert "Traceback" not in done.stdout + done.stderr


def test_an_old_python_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.13" || exit 1\n')
    old.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    done = run_make(tmp_path, ".venv/service.stamp", f"PYTHON={old}")
    assert done.returncode
    assert done.stdout == (
        f"error: Python 3.10.13 as PYTHON={old}; needs 3.11 or 3.12: make serve PYTHON=python3.12\n"
    )
    assert not (tmp_path / ".venv").exists()


def test_a_model_that_cannot_be_published_ends_what_needs_it(tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'error: no store' >&2; exit 1\n")
    python.chmod(0o755)
    done = run_make(tmp_path, "-o", ".venv/service.stamp", "serve")
    assert done.returncode
    assert "error: no store" in done.stderr
    assert "in the store" not in done.stdout


@pytest.mark.parametrize(("words", "bars"), [((), True), (("-j3",), False)])
def test_models_are_replaced_after_all_trainings(
    tmp_path: Path, words: tuple[str, ...], bars: bool
) -> None:
    commands = run_make(tmp_path, "--dry-run", *words, "models").stdout.splitlines()
    trainings = [command for command in commands if " retrain " in command]
    assert len(trainings) == 14
    assert all(("TQDM_DISABLE" in command) != bars for command in trainings)
    replaced = [command.split()[-1] for command in commands[-2:]]
    assert replaced == ["models/accurate", "models/compact"]


@pytest.mark.slow
def test_both_models_are_made_from_the_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two trainings at once share the cores.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_folder(tmp_path / "faces", "train", make_faces(140))
    write_folder(tmp_path / "faces", "validation", make_faces(35, seed=1))
    (tmp_path / ".venv").symlink_to(sys.prefix)
    words = ("DATA=faces", "DEVICE=cpu", "RETRAIN_FLAGS=--epochs 1")
    done = run_make(tmp_path, "-j2", "models", *words)
    assert not done.returncode, done.stderr
    for name in ("accurate", "compact"):
        card = load_artifact(tmp_path / "models" / name).card
        assert card["name"] == name
        # The teachers have 10 and 11: a seed fixes initial weights and orders.
        for seeds, first in (("start_seeds", 0), ("seeds", 20)):
            assert [run["seed"] for run in card[seeds]["runs"]] == [first, first + 1, first + 2]
        assert len(card["teachers"]) == 2
        assert card["blend"] == 0.25


def test_docker_alone_is_found(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    for name in ("make", "sh", "git", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = ["make", "--dry-run", "run-image"]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "docker run" in ran.stdout, ran.stderr
