from service.inference.bfloat16 import SIZES
from service.inference.sizes import fill_up


def test_batches_are_filled_up_to_the_next_size() -> None:
    assert [fill_up(count, SIZES) for count in (1, 9, 13, 16, 17)] == [0, 1, 3, 0, 0]
