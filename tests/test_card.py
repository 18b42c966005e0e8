import json

import pytest

from search.retraining.card import find_terms
from tests.conftest import make_faces
from tests.live import ROOT


@pytest.mark.parametrize("name", ["compact", "accurate"])
def test_the_shipped_cards_name_fer2013_and_its_terms(name: str) -> None:
    card = json.loads((ROOT / "models" / name / "card.json").read_text())
    terms = find_terms(card["data"]["validation_sha256"])
    assert card["data"]["name"] == terms["name"] == "FER2013"
    assert card["data"]["terms"] == terms["terms"]
    assert card["licence"] == terms["licence"]


def test_a_model_of_other_faces_is_not_said_to_be_of_fer2013() -> None:
    assert "FER2013" not in str(find_terms(make_faces(7).digest()))
