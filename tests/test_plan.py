from dataclasses import replace
from typing import Any

import pytest

from search.config import RECIPES
from search.training.plan import Plan, differing_fields
from tests.conftest import TINY, make_faces

PLAN = Plan(TINY, RECIPES["modern"], 0, "digest")


@pytest.fixture
def fields() -> dict[str, Any]:
    return PLAN.fields(make_faces(7))


def test_what_differs_is_named(fields: dict[str, Any]) -> None:
    assert not differing_fields(fields, fields)
    other = replace(PLAN, seed=1, recipe=RECIPES["distill"]).fields(make_faces(8))
    assert differing_fields(other, fields) == ["recipe.distill", "seed", "validation_digest"]


def test_a_plan_of_an_older_version_may_lack_fields(fields: dict[str, Any]) -> None:
    old = PLAN.fields(make_faces(7))
    for name in ("cutmix", "consistent"):
        del old["recipe"][name]
    del old["network"]["soften"], old["validation_digest"]
    assert not differing_fields(old, fields)
    old["recipe"]["unknown"] = 1
    assert not differing_fields(old, fields)
