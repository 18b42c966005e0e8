"""The seven expressions, in the index order of FER2013 (Goodfellow et al., 2013)."""

from typing import Final

LABELS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
