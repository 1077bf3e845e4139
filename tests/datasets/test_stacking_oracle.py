"""Stacked maps of the public data, held against Gammapy's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gammaflow.data import DataStore
from gammaflow.datasets import MapDataset, MapDatasetGeometry, combine, finish, lift, stack
from gammaflow.io import read_dataset, write_dataset
from gammaflow.makers import ExclusionMask, FoVBackgroundMaker, MakerChain, MapDatasetMaker, SafeMaskMaker
from gammaflow.maps import MapAxis, WcsGeom
from tests.oracle import assert_like_oracle, load_oracle

RESPONSES = ("psf", "psf_exposure", "edisp", "edisp_exposure")


@pytest.fixture(scope="module")
def galactic_centre(gammapy_data: Path) -> tuple[MapDatasetGeometry, list[MapDataset]]:
    energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=10)
    true = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", nbin=14, name="energy_true")
    geom = WcsGeom.create((0.0, 0.0), 0.02, (10, 8), frame="galactic", axes=[energy])
    whole = MapDatasetGeometry.create(geom, true)
    safe = SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max="3 deg")
    chain = MakerChain(MapDatasetMaker(), (safe,), 7.0)
    store = DataStore.from_dir(gammapy_data / "cta-1dc" / "index" / "gps")
    return whole, [chain.run(store.obs(i), whole) for i in (110380, 111140, 111159)]


#: Centre of the map and radius of the excluded circle, deg, and the runs, of the H.E.S.S. cases of the oracle.
HESS = {
    "hess_crab_3d": ((83.63, 22.01), 0.3),
    "hess_msh_3d": ((228.529, -59.157), 0.4),
}


@pytest.fixture(scope="module", params=HESS)
def hess(
    request: pytest.FixtureRequest, gammapy_data: Path
) -> tuple[str, MapDatasetGeometry, list[MapDataset]]:
    center, radius = HESS[request.param]
    energy = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=10)
    true = MapAxis.from_energy_bounds("0.3 TeV", "70 TeV", nbin=20, name="energy_true")
    geom = WcsGeom.create(center, 0.02, (5, 5), frame="icrs", axes=[energy])
    whole = MapDatasetGeometry.create(geom, true)
    safe = SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max="2.5 deg")
    outside = ~geom.to_image().region_mask(f"icrs;circle({center[0]}, {center[1]}, {radius})")
    fov = FoVBackgroundMaker(method="fit", exclusion_mask=ExclusionMask(geom.to_image(), outside))
    chain = MakerChain(MapDatasetMaker(), (safe, fov), 5.0)
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    runs = [int(run["name"].removeprefix("obs-")) for run in load_oracle(request.param)["observations"]]
    return request.param, whole, [chain.run(store.obs(i), whole) for i in runs]


def weights_at_responses(whole: MapDatasetGeometry, runs: list[MapDataset]) -> tuple[np.ndarray, np.ndarray]:
    """Each run's mask at the response pixels, and where rounding decides it.

    A response pixel's centre lies on the corner of four map pixels; where these do not agree, Gammapy's
    choice among them is that of round-off. Beyond a run's own map Gammapy extrapolates.
    """
    y, x = whole.irf_centers_in_map()
    masks, doubtful = [], np.zeros(y.shape, dtype=bool)
    for run in runs:
        mask = np.zeros(whole.shapes["mask_safe"], dtype=bool)
        box = run.geometry.box_in(whole)
        mask[box.of("mask_safe")] = run.array("mask_safe")
        beyond = (y < box.y[0]) | (y >= box.y[1]) | (x < box.x[0]) | (x >= box.x[1])
        doubtful[box.irf] |= beyond[box.irf]
        masks.append(mask[:, y, x])
        padded = np.pad(mask, ((0, 0), (2, 2), (2, 2)))
        around = [padded[:, y + 2 + j, x + 2 + i] for j in (-1, 0, 1) for i in (-1, 0, 1)]
        doubtful |= np.any([a != around[4] for a in around], axis=(0, 1))
    return np.array(masks), doubtful


def assert_responses(
    found: dict[str, np.ndarray], reference: dict[str, Any], masks: np.ndarray, doubtful: np.ndarray
) -> None:
    for name in RESPONSES:
        array, expected = found[name], reference[name]
        assert array.size == np.prod(expected["shape"])
        index = np.unravel_index(expected["sample_index"], array.shape)
        keep = ~doubtful[index[-2:]]
        if name == "edisp":
            # Gammapy interpolates the mask over energy, which lets masked bins beside safe ones in: hold only
            # bins against it that are safe for every run that sees the pixel.
            at = masks[:, index[1], index[2], index[3]]
            keep &= (at == masks.any(axis=1)[:, index[2], index[3]]).all(axis=0)
        assert keep.sum() > 100
        values, wanted = array[index][keep], np.array(expected["sample_value"])[keep]
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-5 * expected["max"], err_msg=name)


def test_galactic_centre(galactic_centre):
    whole, runs = galactic_centre
    reference = load_oracle("gc")
    stacked = stack(runs, "stacked", whole)
    wanted = reference["stacked"]
    assert_like_oracle(stacked.array("counts"), wanted["counts"], name="counts")
    assert_like_oracle(stacked.array("mask_safe"), wanted["mask_safe"], name="mask_safe")
    for name in ("background", "exposure"):
        assert_like_oracle(stacked.array(name), wanted[name], rtol=1e-5, atol=1e-12, name=name)
    responses = {name: stacked.array(name) for name in RESPONSES}
    assert_responses(responses, wanted, *weights_at_responses(whole, runs))
    assert stacked.livetime == pytest.approx(wanted["livetime_s"], rel=1e-12)
    gti = [stacked.gti.time_start.tt.mjd, stacked.gti.time_stop.tt.mjd]
    np.testing.assert_allclose(gti, wanted["gti_start_stop_mjd_tt"], rtol=0, atol=1e-9)


def test_galactic_centre_summary(galactic_centre):
    whole, runs = galactic_centre
    info = stack(runs, "stacked", whole).info_dict()
    wanted = load_oracle("gc")["stacked_info"]
    assert set(info) == set(wanted)
    for name in ("counts", "n_bins", "n_fit_bins"):
        assert info[name] == wanted[name]
    for name in ("background", "excess", "sqrt_ts", "npred", "npred_background"):
        assert info[name] == pytest.approx(wanted[name], rel=1e-6)
    for name in (
        "exposure_min",
        "exposure_max",
        "livetime",
        "ontime",
        "counts_rate",
        "background_rate",
        "excess_rate",
    ):
        value, unit = wanted[name].split(" ", 1)
        assert info[name].to_value(unit) == pytest.approx(float(value), rel=1e-6)
    assert np.isnan([info["npred_signal"], info["stat_sum"]]).all()


def test_galactic_centre_against_a_plain_sum_in_float64(galactic_centre):
    whole, runs = galactic_centre
    sums = combine([combine([lift(runs[0], whole), lift(runs[1], whole)]), lift(runs[2], whole)])
    for name in ("background", "exposure"):
        plain = np.zeros(whole.shapes[name])
        for run in runs:
            mask = run.array("mask_safe")
            mask = mask.any(axis=0) if name == "exposure" else mask
            plain[run.geometry.box_in(whole).of(name)] += run.array(name).astype(np.float64) * mask
        np.testing.assert_allclose(sums.sums[name], plain[sums.box.of(name)], rtol=1e-12)


def test_from_disk_or_from_memory_the_stack_has_the_same_bits(galactic_centre, tmp_path):
    whole, runs = galactic_centre
    for run in runs:
        write_dataset(run, tmp_path / f"{run.name}.zarr")
    again = stack((read_dataset(tmp_path / f"{run.name}.zarr") for run in runs), "stacked", whole)
    assert again.data.identical(stack(runs, "stacked", whole).data)


def test_hess_with_background_norms(hess):
    """Gammapy stacks onto the first run's part of the map; ours covers the whole map."""
    case, whole, runs = hess
    wanted = load_oracle(case)["stacked"]
    stacked = finish(combine([lift(run, whole) for run in runs]))
    box = runs[0].geometry.box_in(whole)
    names = ("counts", "mask_safe", "background", "exposure", *RESPONSES)
    part = {name: stacked.array(name)[box.of(name)] for name in names}
    assert_like_oracle(part["counts"], wanted["counts"], name="counts")
    assert_like_oracle(part["mask_safe"], wanted["mask_safe"], name="mask_safe")
    assert_like_oracle(part["exposure"], wanted["exposure"], rtol=1e-5, name="exposure")
    assert_like_oracle(part["background"], wanted["background"], rtol=3e-4, atol=1e-12, name="background")
    masks, doubtful = weights_at_responses(whole, runs)
    assert_responses(part, wanted, masks[box.of("psf")], doubtful[box.irf])
    assert stacked.livetime == pytest.approx(wanted["livetime_s"], rel=1e-12)
    assert not np.isnan(stacked.observations["background_norm"]).any()
