import pytest

from search.ablation.effect import Effect


def test_an_idea_is_kept_where_three_seeds_show_it() -> None:
    base = (0.60, 0.61, 0.62)
    better = Effect("mixup", (0.65, 0.66, 0.67), base)
    assert better.difference == pytest.approx(0.05)
    assert better.difference_error == pytest.approx(0.01 * (2 / 3) ** 0.5)
    assert better.kept
    assert not Effect("mixup", (0.61, 0.62, 0.63), base).kept
    assert not Effect("mixup", (0.65, 0.66), base[:2]).kept
