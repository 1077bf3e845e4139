"""One thread for matrix products, and the old number afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy
from gammaflow.likelihood.blas_threads import _libraries, one_blas_thread
if not _libraries():
    raise SystemExit(77)
def threads():
    return [get() for get, _ in _libraries()]
assert threads() == [2] * len(threads()), threads()
with one_blas_thread():
    assert threads() == [1] * len(threads()), threads()
    with one_blas_thread():
        pass
    assert threads() == [1] * len(threads()), "the inner block let go"
assert threads() == [2] * len(threads()), threads()
"""


def test_matrix_products_have_one_thread_within_the_block_and_as_many_as_before_after_it() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    if result.returncode == 77:
        pytest.skip("no OpenBLAS in this process")
    assert result.returncode == 0, result.stderr
