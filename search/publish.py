"""An artifact into the BentoML model store."""

from pathlib import Path

import bentoml

from service.artifact import CARD_FILE, WEIGHTS_FILE, load_artifact


def publish(artifact: Path, name: str) -> str:
    """Put an artifact into the store unless the same weights are there already.

    Args:
        artifact: folder with weights and card.
        name: the model's name in the store.

    Returns:
        `name:version`; the version is the start of the weights' SHA-256.

    Raises:
        ArtifactError: the artifact does not pass its checks.
    """
    card = load_artifact(artifact).card
    tag = f"{name}:{card['weights_sha256'][:12]}"
    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        with bentoml.models.create(tag, labels={"network": str(card.get("name", "unnamed"))}) as m:
            for file in (WEIGHTS_FILE, CARD_FILE):
                Path(m.path_of(file)).write_bytes((artifact / file).read_bytes())
    return tag
