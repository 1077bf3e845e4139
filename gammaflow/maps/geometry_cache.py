"""Arrays of a geometry, computed once a process and forgotten when they grow too many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray


class GeometryCache:
    """A least-recently-used cache of read-only arrays, bounded by the bytes it holds.

    Parameters
    ----------
    max_bytes : int
        An array larger than this is returned, but not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._arrays: OrderedDict[Hashable, NDArray[np.float64]] = OrderedDict()
        # held while an array is built: two threads must not build the same one, nor enter wcslib together
        self.lock = threading.RLock()

    def get(self, key: Hashable, build: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """The array kept under a key, built if it is not there."""
        with self.lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
                return array
            array = build()
            array.flags.writeable = False
            if array.nbytes > self.max_bytes:
                return array
            self._arrays[key] = array
            while self.nbytes > self.max_bytes:
                self._arrays.popitem(last=False)
            return array

    @property
    def nbytes(self) -> int:
        """Bytes held at this moment."""
        return sum(array.nbytes for array in self._arrays.values())

    def __len__(self) -> int:
        return len(self._arrays)

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self._arrays.clear()


#: The cache of this process. A 500 x 400 parent takes 5 MB of it.
GEOMETRY_CACHE = GeometryCache(max_bytes=128 * 2**20)
