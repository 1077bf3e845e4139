"""Keeping freed memory in a worker process, for the next observation to use."""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache

_log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_ARRAY, _LARGEST_REST = 2**25, 2**30  # bytes; glibc allows no larger first one


@cache
def keep_freed_memory() -> bool:
    """Tell glibc not to give freed arrays back to the kernel; whether it was told. Once a process.

    Dask starts its workers with ``MALLOC_TRIM_THRESHOLD_=65536``: each large array is then fetched anew from the
    kernel, page by page, which takes longer than the arithmetic on it. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        _log.debug("this C library has no mallopt; freed memory goes back to the kernel")
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_ARRAY) and mallopt(_M_TRIM_THRESHOLD, _LARGEST_REST))
