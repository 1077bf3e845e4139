"""Simulated joint fits: their results scatter around the truth as their errors say."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.fit import Fit
from gammaflow.likelihood import npred
from gammaflow.modeling import Models
from tests.fit.observed import backgrounds, blob
from tests.likelihood.synthetic import make_dataset

FITS = 200
NAMES = tuple(f"run-{i}" for i in range(5))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pulls_of_joint_fits_are_standard_normal() -> None:
    """Mean within 0.15 of 0 and width within 10 % of 1, for every free parameter (they scatter by 0.07 and 0.05)."""
    truth = Models([blob(), *backgrounds(*NAMES)])
    truth["blob"].spectral_model.amplitude.value *= 15
    empty = [
        make_dataset(name, npix=61, background=1.0 + 0.2 * i, exposure_slope=0.05 * i)
        for i, name in enumerate(NAMES)
    ]
    expected = [npred(dataset, list(truth)) for dataset in empty]
    rng = np.random.default_rng(1)
    pulls: dict[str, list[float]] = {}
    for _ in range(FITS):
        datasets = [
            dataset.with_arrays(counts=rng.poisson(counts).astype(np.int32))
            for dataset, counts in zip(empty, expected, strict=True)
        ]
        result = Fit().run(datasets, truth.copy())
        assert result.success
        for name, value in result.values.items():
            pulls.setdefault(name, []).append((value - true_value(truth, name)) / result.errors[name])
    assert len(pulls) == 5 + len(NAMES)
    for name, values in pulls.items():
        assert abs(np.mean(values)) < 0.15, name
        assert abs(np.std(values) - 1) < 0.1, name


def true_value(truth: Models, name: str) -> float:
    model, part, parameter = name.split(".")
    return float(getattr(truth[model], f"{part}_model").parameters[parameter].value)
