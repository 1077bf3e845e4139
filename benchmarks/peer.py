"""A worker process that answers one JSON line with one JSON line.

The driver keeps one worker for Gammapy and one for gammaflow and asks them in turn, so that both are
measured in one run, on the same machine, in the same minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}


class Peer:
    """A running worker; ``ask`` sends a request and returns what it answers."""

    def __init__(self, python: str, script: Path, *args: str) -> None:
        self._process = subprocess.Popen(
            [python, str(script), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def serve(answer: Callable[..., dict[str, Any]]) -> None:
    """Answer requests from standard input until it ends."""
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
