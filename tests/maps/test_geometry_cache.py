"""The bounded cache of pixel arrays."""

import threading

import numpy as np

from gammaflow.maps.geometry_cache import GeometryCache


def test_least_recently_used_goes_first():
    cache = GeometryCache(max_bytes=3 * 800)
    for key in "abc":
        cache.get(key, lambda: np.zeros(100))
    kept = cache.get("a", lambda: np.ones(100))
    assert (kept == 0).all()
    cache.get("d", lambda: np.zeros(100))
    assert cache.nbytes <= cache.max_bytes
    assert (cache.get("a", lambda: np.ones(100)) == 0).all()
    assert (cache.get("b", lambda: np.ones(100)) == 1).all()


def test_an_array_too_large_is_given_but_not_kept():
    cache = GeometryCache(max_bytes=1000)
    cache.get("small", lambda: np.zeros(10))
    assert cache.get("large", lambda: np.zeros(1000)).size == 1000
    assert len(cache) == 1
    cache.clear()
    assert len(cache) == 0


def test_threads_build_once_and_cannot_write():
    cache, built = GeometryCache(10_000), []

    def build():
        built.append(1)
        return np.zeros(10)

    threads = [threading.Thread(target=cache.get, args=("key", build)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert not cache.get("key", build).flags.writeable
