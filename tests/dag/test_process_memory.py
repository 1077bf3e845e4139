"""Freed memory stays in the process."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from gammaflow.dag.process_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use():
    np.empty(2**18)[:] = 1.0
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_an_array_of_the_same_size_costs_no_pages_again() -> None:
    def faults(mode: str) -> int:
        environment = {"MALLOC_TRIM_THRESHOLD_": "65536"}  # what Dask gives its workers
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, mode],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=environment,
        )
        return int(done.stdout)

    pages = 50 * 2**21 // resource.getpagesize()
    assert faults("leave") > pages // 2, "the test shows nothing where memory is kept anyway"
    assert faults("keep") < pages // 10
