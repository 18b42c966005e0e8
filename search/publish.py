"""An artifact into the BentoML model store."""

import hashlib
from pathlib import Path

import bentoml

from service.artifact import CARD_FILE, WEIGHTS_FILE, load_artifact


def publish(artifact: Path, name: str) -> str:
    """Put an artifact into the store unless the same one is there already.

    Args:
        artifact: folder with weights and card.
        name: the model's name in the store.

    Returns:
        `name:version`; the version is the start of the card's SHA-256, and the card holds that
        of the weights: a new calibration is a new version.

    Raises:
        ArtifactError: the artifact does not pass its checks.
    """
    card = load_artifact(artifact).card
    version = hashlib.sha256((artifact / CARD_FILE).read_bytes()).hexdigest()[:12]
    tag = f"{name}:{version}"
    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        with bentoml.models.create(tag, labels={"network": str(card.get("name", "unnamed"))}) as m:
            for file in (WEIGHTS_FILE, CARD_FILE):
                Path(m.path_of(file)).write_bytes((artifact / file).read_bytes())
    return tag
