"""Prometheus metrics, shown at `/metrics`; every label has a small, fixed set of values."""

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from service.version import VERSION

# Steps of a millisecond at the bottom, so that a p99 of single milliseconds can be read.
_SECONDS: Final = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02),
    *(0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
_TENTHS: Final = tuple(step / 10 for step in range(1, 11))

REQUESTS: Final = Counter("emotion_requests", "Requests by route and status", ["route", "status"])
REQUEST_SECONDS: Final = Histogram(
    "emotion_request_seconds",
    "Time from the last read of the body to the answer",
    ["route"],
    buckets=_SECONDS,
)
UPLOAD_SECONDS: Final = Histogram(
    "emotion_upload_seconds",
    "Time from a request's head to the last read of its body",
    buckets=_SECONDS,
)
IN_PROGRESS: Final = Gauge(
    "emotion_requests_in_progress", "Requests being answered", multiprocess_mode="livesum"
)
REJECTIONS: Final = Counter("emotion_rejections", "Requests and items refused", ["code"])

QUEUE_DEPTH: Final = Gauge("emotion_queue_depth", "Waiting images", multiprocess_mode="livesum")
QUEUE_SECONDS: Final = Histogram(
    "emotion_queue_seconds", "Wait of a request's images for their forward pass", buckets=_SECONDS
)
BATCH_SIZE: Final = Histogram(
    "emotion_batch_images", "Images in a forward pass", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
INFERENCE_SECONDS: Final = Histogram(
    "emotion_inference_seconds", "Time of a forward pass", buckets=_SECONDS
)
DECODE_SECONDS: Final = Histogram(
    "emotion_decode_seconds", "Time to decode a request's images", buckets=_SECONDS
)
DECODE_WAIT_SECONDS: Final = Histogram(
    "emotion_decode_wait_seconds",
    "Wait of a request's images for a thread to decode them",
    buckets=_SECONDS,
)
DEVICE_MEMORY: Final = Gauge(
    "emotion_device_memory_bytes",
    "Memory that the workers hold of their device; of RAM all that is resident",
    ["device"],
    multiprocess_mode="livesum",
)
FAILURES: Final = Counter("emotion_batch_failures", "Forward passes that failed")

PREDICTIONS: Final = Counter("emotion_predictions", "Answered faces by label", ["label"])
CONFIDENCE: Final = Histogram(
    "emotion_confidence", "Probability of the answered label", buckets=_TENTHS
)
UNCERTAIN: Final = Counter("emotion_uncertain", "Answers below the card's threshold")
BRIGHTNESS: Final = Histogram(
    "emotion_input_brightness", "Mean grey level of a face, 0 to 255", buckets=range(16, 257, 16)
)
CONTRAST: Final = Histogram(
    "emotion_input_contrast", "Standard deviation of a face's grey levels", buckets=range(8, 129, 8)
)
PIXELS: Final = Histogram(
    "emotion_input_pixels",
    "Width x height of an image as sent",
    buckets=(2304, 10_000, 50_000, 250_000, 1_000_000, 4_000_000, 16_000_000, 64_000_000),
)
MODEL: Final = Gauge(
    "emotion_model_info", "Workers that answer with a model", ["model"], multiprocess_mode="livesum"
)
BUILD: Final = Gauge(
    "emotion_build_info",
    "Workers that run a build",
    ["version", "revision"],
    multiprocess_mode="livesum",
)
RELOADS: Final = Counter("emotion_reloads", "Model swaps by outcome", ["outcome"])
# A rise from nothing is none to Prometheus: the first refusal would not be seen.
for _outcome in ("taken", "refused", "unchanged"):
    RELOADS.labels(_outcome)
RESTARTS: Final = Counter(
    "emotion_worker_restarts", "Starts of workers in place of one that crashed or was killed"
)
LOG_DROPPED: Final = Counter(
    "emotion_log_dropped", "Log lines lost: nobody read standard output, or its disk was full"
)
READY: Final = Gauge("emotion_ready", "Workers that are ready", multiprocess_mode="livesum")


def show_model(name: str, previous: str | None = None) -> None:
    """Say which model this worker answers with."""
    if previous:
        MODEL.labels(previous).set(0)
    MODEL.labels(name).set(1)


def show_build() -> None:
    """Say which code this worker runs; the container names its commit in `REVISION`."""
    BUILD.labels(VERSION, os.environ.get("REVISION") or "unknown").set(1)


def observe_inputs(faces: NDArray[np.uint8]) -> None:
    """Count brightness and contrast of uint8 (N, 48, 48) views of faces, to watch for drift."""
    for mean, deviation in zip(faces.mean((1, 2)), faces.std((1, 2)), strict=True):
        BRIGHTNESS.observe(mean)
        CONTRAST.observe(deviation)
