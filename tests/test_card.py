import json

import numpy as np
import pytest

from search.data.faces import Faces
from search.retraining.card import find_terms
from service.labels import LABELS
from tests.conftest import make_faces
from tests.live import ROOT


@pytest.mark.parametrize("name", ["compact", "accurate"])
def test_any_copy_of_the_shipped_models_faces_is_fer2013_on_its_terms(name: str) -> None:
    card = json.loads((ROOT / "models" / name / "card.json").read_text())
    by_label = card["metrics"]["validation"]["classes"]
    counts = [by_label[label]["images"] for label in LABELS]
    copy = Faces(np.zeros((sum(counts), 48, 48), np.uint8), np.repeat(np.arange(7), counts))
    terms = find_terms(copy)
    assert card["data"]["name"] == terms["name"] == "FER2013"
    assert card["data"]["terms"] == terms["terms"]
    assert card["licence"] == terms["licence"]


def test_a_model_of_other_faces_is_not_said_to_be_of_fer2013() -> None:
    assert "FER2013" not in str(find_terms(make_faces(7)))
