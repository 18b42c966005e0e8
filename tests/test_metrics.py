import pytest
from prometheus_client import REGISTRY

from service import metrics
from service.server.overload import HEAVY
from service.version import VERSION
from tests.live import ROOT


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


def test_the_first_error_is_a_rise_from_zero() -> None:
    for route in HEAVY:
        for status in ("500", "503"):
            labels = {"route": route, "status": status}
            assert REGISTRY.get_sample_value("emotion_requests_total", labels) is not None


@pytest.mark.parametrize(("named", "shown"), [("abc123", "abc123"), ("", "unknown")])
def test_the_running_build_is_named(
    monkeypatch: pytest.MonkeyPatch, named: str, shown: str
) -> None:
    monkeypatch.setenv("REVISION", named)
    metrics.show_build()
    labels = {"version": VERSION, "revision": shown}
    assert REGISTRY.get_sample_value("emotion_build_info", labels) == 1


@pytest.mark.parametrize("file", ["Dockerfile", "deploy/search.Dockerfile"])
def test_the_images_name_their_commit(file: str) -> None:
    last = (ROOT / file).read_text().rpartition("\nFROM ")[2]
    assert last.index("ARG REVISION") < last.index("    REVISION=${REVISION} \\\n")
