"""Stacking ON/OFF spectra, against Gammapy's numbers on the four runs on the Crab nebula.

The sums per energy of the reference are, for spectra, the values themselves: from those of the runs the stacked
ones must follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gammaflow.datasets import SpectrumDatasetGeometry, SpectrumDatasetOnOff, combine, finish, lift, stack
from gammaflow.maps import MapAxis, RegionGeom
from tests.oracle import load_oracle

REGION = "icrs;circle(83.63,22.01,0.11)"


def array(entry: dict[str, Any], name: str) -> np.ndarray:
    return np.array(entry[name]["sum_per_energy"])


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return load_oracle("hess_crab_1d")


@pytest.fixture(scope="module")
def runs(oracle) -> list[SpectrumDatasetOnOff]:
    n_energy, n_true = (oracle["stacked"][n]["shape"][0] for n in ("counts", "exposure"))
    energy = MapAxis.from_energy_bounds("0.1 TeV", "40 TeV", n_energy)
    true = MapAxis.from_energy_bounds("0.05 TeV", "100 TeV", n_true, name="energy_true")
    geometry = SpectrumDatasetGeometry.create(RegionGeom.create(REGION, [energy]), true)
    return [
        SpectrumDatasetOnOff.from_arrays(
            geometry,
            entry["name"],
            counts=array(entry, "counts").astype(int),
            counts_off=array(entry, "counts_off").astype(int),
            acceptance=array(entry, "acceptance"),
            acceptance_off=array(entry, "acceptance_off"),
            mask_safe=array(entry, "mask_safe") > 0,
            exposure=array(entry, "exposure"),
            edisp=np.zeros((n_true, n_energy)),
            edisp_exposure=array(entry, "edisp_exposure"),
            livetime=entry["livetime_s"],
        )
        for entry in oracle["observations"]
    ]


def test_sums_of_the_runs(oracle, runs):
    pairs = [combine([lift(run, runs[0].geometry) for run in runs[i : i + 2]]) for i in (0, 2)]
    for stacked in (stack(runs), finish(combine(pairs))):
        for name in ("counts", "counts_off", "mask_safe"):
            np.testing.assert_array_equal(
                getattr(stacked, name), array(oracle["stacked"], name), err_msg=name
            )
        for name in ("acceptance", "background", "exposure", "edisp_exposure"):
            np.testing.assert_allclose(
                getattr(stacked, name), array(oracle["stacked"], name), rtol=1e-6, atol=1e-12, err_msg=name
            )
        safe = stacked.array("mask_safe")
        np.testing.assert_allclose(
            stacked.array("acceptance_off")[safe], array(oracle["stacked"], "acceptance_off")[safe], rtol=1e-6
        )
