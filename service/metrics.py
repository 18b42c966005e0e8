"""Prometheus metrics, shown at `/metrics` beside BentoML's own."""

import logging
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

LOG: Final = logging.getLogger("bentoml.facial_emotion")

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)

PREDICTIONS: Final = Counter("emotion_predictions", "Answered faces by label", ["label"])
REJECTIONS: Final = Counter("emotion_rejections", "Requests and items refused", ["code"])
QUEUE_DEPTH: Final = Gauge("emotion_queue_depth", "Waiting images", multiprocess_mode="livesum")
BATCH_SIZE: Final = Histogram(
    "emotion_batch_images", "Images in a forward pass", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
INFERENCE_SECONDS: Final = Histogram(
    "emotion_inference_seconds", "Time of a forward pass", buckets=_SECONDS
)
DECODE_SECONDS: Final = Histogram(
    "emotion_decode_seconds", "Time to decode a request's images", buckets=_SECONDS
)
