"""The BentoML model store: a model found in it, and an artifact put into it."""

import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bentoml
from bentoml.exceptions import BentoMLException, NotFound

from service.artifact import (
    CARD_FILE,
    WEIGHTS_FILE,
    Artifact,
    ArtifactError,
    load_artifact,
    write_whole,
)
from service.inference.compiled import compile_network, compiled_path, open_compiled
from service.inference.golden import GOLDEN_FILE, check_golden, write_golden
from service.inference.predictor import Predictor

LATEST: Final = "latest"
"""File in a model's folder of BentoML's store: the version that `name:latest` means."""


@dataclass(frozen=True)
class Found:
    """A model in the store: its name:version and the folder of its files."""

    name: str
    folder: Path


def find_stored(tag: str) -> Found:
    """The model that a tag names now.

    Raises:
        BentoMLException: it is not in the store.
    """
    model = bentoml.models.get(tag)
    return Found(str(model.tag), Path(model.path))


def publish(artifact: Path, name: str, if_new: bool = False) -> str:
    """Put an artifact into the store, unless the same one is there, and make it the latest.

    Beside it go its answers to drawn faces, to be checked whenever it is loaded, and its network
    as an ONNX graph, where the package onnx is installed. A copy in the store of which a file is
    torn or altered is put there again.

    Args:
        artifact: folder with weights and card.
        name: the model's name in the store.
        if_new: leave what is the latest where the artifact is there already.

    Returns:
        `name:version`; the version is the start of the card's SHA-256, and the card holds that
        of the weights: a new calibration is a new version.

    Raises:
        ArtifactError: the artifact does not pass its checks, or the store cannot be used.
    """
    loaded = load_artifact(artifact)
    version = hashlib.sha256((artifact / CARD_FILE).read_bytes()).hexdigest()[:12]
    tag = f"{name}:{version}"
    try:
        if is_whole(tag):
            folder = find_stored(tag).folder
            add_derived(folder, loaded)
            if not if_new:
                make_latest(folder)
        else:
            create(tag, artifact, loaded)
    except (BentoMLException, OSError) as error:
        home = os.environ.get("BENTOML_HOME", "~/bentoml")
        text = f"the BentoML store in {home} cannot be used ({error})"
        raise ArtifactError(f"{text}; run: make model BENTOML_HOME=ANOTHER-FOLDER") from None
    return tag


def create(tag: str, artifact: Path, loaded: Artifact) -> None:
    """Make a model in the store of an artifact, given as its folder and as loaded from it.

    Raises:
        BentoMLException, OSError: the store cannot be used.
    """
    labels = {"network": str(loaded.card.get("name", "unnamed"))}
    with bentoml.models.create(tag, labels=labels) as model:
        # BentoML makes it for this user alone; a container serves as another.
        Path(model.path).chmod(0o755)
        for file in (WEIGHTS_FILE, CARD_FILE):
            Path(model.path_of(file)).write_bytes((artifact / file).read_bytes())
        add_derived(Path(model.path), loaded)


def make_latest(folder: Path) -> None:
    """Have `name:latest` mean the version in a folder of the store."""
    latest = folder.parent / LATEST
    if not latest.exists() or latest.read_text().strip() != folder.name:
        write_whole(latest, folder.name.encode())


def is_whole(tag: str) -> bool:
    """Whether the store has a model, untorn; a torn one is removed, with a line to say so."""
    try:
        check_files(find_stored(tag).folder)
    except NotFound:
        return False
    # BentoML and ONNX Runtime pass on whatever their parsers raise on a torn file.
    except Exception as error:
        bentoml.models.delete(tag)
        text = " ".join(str(error).split())
        print(f"the store's {tag} was damaged ({text}); it is put there again", file=sys.stderr)
        return False
    return True


def check_files(folder: Path) -> None:
    """Load all of a model's files and compare what answers by them; derived ones may be missing.

    Raises:
        Exception: a file is missing, torn or altered.
    """
    artifact = load_artifact(folder)
    if (path := compiled_path(folder, artifact)).exists():
        open_compiled(path, artifact.network, threads=1)
    if (folder / GOLDEN_FILE).exists():
        check_golden(folder, Predictor(artifact, "cpu", 64).predict)


def add_derived(folder: Path, artifact: Artifact) -> None:
    """Write the graph, where it can be made, and the golden answers, where they are missing."""
    path = compiled_path(folder, artifact)
    if not path.exists():
        if importlib.util.find_spec("onnx"):
            write_whole(path, compile_network(artifact.network))
        else:
            print("onnx is not installed: PyTorch will answer, more slowly", file=sys.stderr)
    if not (folder / GOLDEN_FILE).exists():
        # Last, because the predictor changes the network.
        write_golden(folder, Predictor(artifact, "cpu", 64).predict)
