"""A Python client of the facial-emotion service; needs nothing of the service itself."""

from facial_emotion_client.client import AsyncEmotionClient, EmotionClient
from facial_emotion_client.results import Box, EmotionError, Faces, Failure, Prediction, Result
from facial_emotion_client.retry import Retry

__all__ = [
    "AsyncEmotionClient",
    "Box",
    "EmotionClient",
    "EmotionError",
    "Faces",
    "Failure",
    "Prediction",
    "Result",
    "Retry",
]
