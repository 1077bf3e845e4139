"""One thread for matrix products.

A fit multiplies many small matrices. Threads of the linear algebra library cost more there than they gain, three
times the time on a machine that does something else besides; and how a product is split between threads decides
about its last bits. Workers have one thread from their environment; in any other process it has to be said.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Final

_MAPS: Final = Path("/proc/self/maps")


class _Held:
    """How many blocks hold the libraries at one thread, and what they were set to before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks = 0
        self.before: list[int] = []


_HELD = _Held()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within the block matrix products of this process use one thread.

    It knows OpenBLAS, which numpy and scipy come with on Linux. Another library is left as it is: set
    ``OMP_NUM_THREADS=1`` for it.
    """
    with _HELD.lock:
        _HELD.blocks += 1
        if _HELD.blocks == 1:
            _HELD.before = [get() for get, _ in _libraries()]
            for _, put in _libraries():
                put(1)
    try:
        yield
    finally:
        with _HELD.lock:
            _HELD.blocks -= 1
            if _HELD.blocks == 0:
                for (_, put), threads in zip(_libraries(), _HELD.before, strict=True):
                    put(threads)


@lru_cache(maxsize=1)
def _libraries() -> tuple[tuple[Callable[[], int], Callable[[int], None]], ...]:
    """How to ask each OpenBLAS of this process for its number of threads, and how to set it."""
    if not _MAPS.exists():
        return ()
    mapped = {line.split(maxsplit=5)[-1].strip() for line in _MAPS.read_text().splitlines() if ".so" in line}
    found = []
    for path in sorted(path for path in mapped if "openblas" in Path(path).name):
        library = ctypes.CDLL(path)
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
            put = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                found.append((get, put))
                break
    return tuple(found)
