"""Answers for faces: a model made ready for the device, and its batches."""
