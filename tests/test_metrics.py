import math

from prometheus_client import REGISTRY

from service import metrics


def training(measure: str, statistic: str) -> float | None:
    labels = {"measure": measure, "statistic": statistic}
    return REGISTRY.get_sample_value("emotion_training_input", labels)


def test_the_cards_statistics_are_shown_and_leave_with_their_model() -> None:
    statistics = {
        "brightness": {"mean": 129.0, "deviation": 40.0},
        "contrast": {"mean": 55.0, "deviation": 15.0},
    }
    metrics.show_model("a:1", {"input_statistics": statistics})
    for measure, values in statistics.items():
        for statistic, value in values.items():
            assert training(measure, statistic) == value
    metrics.show_model("a:2", {}, previous="a:1")
    assert math.isnan(training("brightness", "mean") or 0)
    models = [
        REGISTRY.get_sample_value("emotion_model_info", {"model": name}) for name in ("a:1", "a:2")
    ]
    assert models == [0, 1]


def test_the_first_swap_is_a_rise_from_zero() -> None:
    for outcome in ("taken", "refused", "unchanged"):
        labels = {"outcome": outcome}
        assert REGISTRY.get_sample_value("emotion_reloads_total", labels) is not None
