from prometheus_client import REGISTRY

from service import metrics


def test_the_model_in_use_takes_the_place_of_the_one_before() -> None:
    metrics.show_model("a:1")
    metrics.show_model("a:2", previous="a:1")
    models = [
        REGISTRY.get_sample_value("emotion_model_info", {"model": name}) for name in ("a:1", "a:2")
    ]
    assert models == [0, 1]


def test_the_first_swap_is_a_rise_from_zero() -> None:
    for outcome in ("taken", "refused", "unchanged"):
        labels = {"outcome": outcome}
        assert REGISTRY.get_sample_value("emotion_reloads_total", labels) is not None
