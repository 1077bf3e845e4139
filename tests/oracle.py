"""Gammapy's numbers on the public data, and how an array is held against them."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

REPOSITORY = Path(__file__).resolve().parent.parent


@cache
def load_oracle(case: str) -> dict[str, Any]:
    """The reference numbers of one case, e.g. ``gc``; skips the test where they are not."""
    named = os.environ.get("GAMMAFLOW_ORACLE")
    data = os.environ.get("GAMMAPY_DATA")
    places = [Path(named)] if named else []
    places += [Path(data).parent / "oracle"] if data else []
    places += [REPOSITORY.parent / "shared" / "oracle"]
    for place in places:
        file = place / f"{case}.json"
        if file.is_file():
            return json.loads(file.read_text())
    pytest.skip(f"needs the reference numbers {case}.json: set GAMMAFLOW_ORACLE to their folder")


def assert_like_oracle(
    array: ArrayLike,
    reference: dict[str, Any],
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    sum_rtol: float | None = None,
    name: str = "",
) -> None:
    """Shape, sampled bins and sums per energy of one map, each against the reference."""
    values = np.asarray(array, dtype=np.float64)
    assert list(values.shape) == reference["shape"], name
    sampled = values.ravel()[reference["sample_index"]]
    np.testing.assert_allclose(
        sampled, reference["sample_value"], rtol=rtol, atol=atol, err_msg=f"{name}: sampled bins"
    )
    per_energy = values.sum(axis=tuple(range(1, values.ndim)))
    pixels = values[0].size
    np.testing.assert_allclose(
        per_energy,
        reference["sum_per_energy"],
        rtol=rtol if sum_rtol is None else sum_rtol,
        atol=atol * pixels,
        err_msg=f"{name}: sums per energy",
    )
