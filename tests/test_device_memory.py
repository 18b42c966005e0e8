from pathlib import Path

import numpy as np
from prometheus_client import REGISTRY

from service import metrics
from service.artifact import load_artifact
from service.inference.device_memory import watch_memory
from service.inference.predictor import Predictor
from tests.conftest import make_faces


def test_the_memory_of_the_device_is_shown(artifact: Path) -> None:
    predictor = Predictor(load_artifact(artifact), "cpu", 64)
    predict = watch_memory(predictor)
    metrics.DEVICE_MEMORY.labels("cpu").set(0)
    faces = make_faces(2).images
    assert np.array_equal(predict(faces), predictor.predict(faces))
    # Python and PyTorch alone hold more than 100 MB.
    held = REGISTRY.get_sample_value("emotion_device_memory_bytes", {"device": "cpu"})
    assert held and 1e8 < held < 1e12
