"""Faces, files and artifacts made for the tests; none comes from FER2013."""

import csv
import io
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from numpy.typing import NDArray
from PIL import Image

from search.data.faces import Faces
from service.artifact import save_artifact
from service.labels import LABELS
from service.network import ResidualConfig, build_network
from tests.live import make_store

TINY = ResidualConfig(stem_channels=8, channels=(8, 16), depths=(1, 1))


# A shell's background job ignores Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `pytest --hypothesis-profile long` takes the second.
for name, count in (("quick", 250), ("long", 10_000)):
    settings.register_profile(
        name,
        max_examples=count,
        deadline=None,
        database=None,
        # Shrinking would send thousands more; the input that failed is in the report.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
settings.load_profile("quick")


def make_faces(count: int, seed: int = 0) -> Faces:
    """Noise with a bright row at a height that tells the label."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(count, dtype=np.int64) % len(LABELS))
    images = rng.integers(0, 120, (count, 48, 48), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[6 * label : 6 * label + 6] += 130
    return Faces(images, labels)


def encode(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    """An image file's bytes."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_folder(root: Path, split: str, faces: Faces) -> None:
    """The faces as `<split>/<label>/<number>.png`."""
    for label in LABELS:
        (root / split / label).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        Image.fromarray(image).save(root / split / LABELS[label] / f"{number}.png")


def write_csv(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Rows with the given columns, in their order."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def faces() -> Faces:
    """70 faces, ten a label."""
    return make_faces(70)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a train and a validation split."""
    write_folder(tmp_path / "data", "train", make_faces(70))
    write_folder(tmp_path / "data", "validation", make_faces(35, seed=1))
    return tmp_path / "data"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An untrained tiny network's artifact."""
    torch.manual_seed(0)
    facts = {"name": "tiny", "temperature": 1.0}
    save_artifact(tmp_path / "artifact", build_network(TINY), TINY, facts)
    return tmp_path / "artifact"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of an own store that holds the shipped model."""
    return make_store(tmp_path_factory.mktemp("store"))
