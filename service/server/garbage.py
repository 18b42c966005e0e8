"""Garbage collection that requests do not wait for, and memory given back to the system."""

import ctypes
import gc


def spare_what_is_loaded() -> None:
    """Leave all objects of now out of later collections; call when the service is ready.

    The libraries make hundreds of thousands at import, which stay. Going through them took a
    quarter of a second, each second under load, in which no request was answered.
    """
    gc.collect()
    gc.freeze()


def give_back_memory() -> None:
    """Return freed memory to the system, as far as the C library can; blocking.

    glibc keeps what the many small blocks of a model leave behind, for each thread that made some.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
