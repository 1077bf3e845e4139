"""Responses that many observations share are read once a process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from gammaflow.irf import Irf


class ResponseKey(NamedTuple):
    """What makes a response the same: the file as it was, the HDU, and how it was read."""

    path: str
    size: int
    mtime_ns: int
    hdu_name: str
    hdu_class: str
    reversed_longitude: bool


class ResponseCache:
    """The responses used last, bounded in number; safe to use from several threads.

    Two threads that miss the same response at the same time both read it; the first one is kept,
    so that what is prepared from it is shared.
    """

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self._kept: OrderedDict[ResponseKey, Irf] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: ResponseKey, read: Callable[[], Irf]) -> Irf:
        """The response of ``key``, read with ``read`` when it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        response = read()
        with self._lock:
            response = self._kept.setdefault(key, response)
            self._kept.move_to_end(key)
            while len(self._kept) > self.maxsize:
                self._kept.popitem(last=False)
        return response

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


# four responses an observation: a survey with six zenith bands of shared responses still fits
RESPONSES = ResponseCache(maxsize=24)
