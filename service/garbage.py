"""Garbage collection that requests do not wait for."""

import gc


def spare_what_is_loaded() -> None:
    """Leave all objects of now out of later collections; call when the service is ready.

    The libraries make hundreds of thousands at import, which stay. Going through them took a
    quarter of a second, each second under load, in which no request was answered.
    """
    gc.collect()
    gc.freeze()
