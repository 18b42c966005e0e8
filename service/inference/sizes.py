"""Batches of any size in code that is made for some sizes only."""

from collections.abc import Sequence


def fill_up(count: int, sizes: Sequence[int]) -> int:
    """How many faces to add for the next size; none above the last size."""
    return next((size - count for size in sizes if size >= count), 0)
