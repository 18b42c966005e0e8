import pytest

from service.settings import Settings, SettingsError


def test_variables_set_fields() -> None:
    settings = Settings.from_environment({"EMOTION_WORKERS": "3", "EMOTION_MAX_WAIT_MS": "1.5"})
    assert (settings.workers, settings.max_wait_ms) == (3, 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("EMOTION_WORKERS", "0"), ("EMOTION_MAX_QUEUE", "many"), ("EMOTION_WORKER", "2")],
)
def test_mistakes_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})
