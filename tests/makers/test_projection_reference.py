"""What the oracle has no case for, against numbers that the field's reference gave (tests/reference)."""

import json
from pathlib import Path

import numpy as np
import pytest

from gammaflow.data import DataStore
from gammaflow.datasets import MapDataset
from gammaflow.irf import Background2D, IrfAxis, PSFKing
from gammaflow.makers import MapDatasetMaker, SafeMaskMaker
from gammaflow.maps import MapAxis, WcsGeom
from tests.reference import synthetic

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "projection.json").read_text())
CRAB = (83.63, 22.01)


def hess(gammapy_data, obs_id):
    return DataStore.from_dir(gammapy_data / "hess-dl3-dr1").obs(obs_id)


def with_irf(observation, name, irf):
    """The same observation with another response."""
    observation._parts[name] = irf
    return observation


def empty(
    center,
    binsz,
    width,
    proj="CAR",
    frame="icrs",
    migra=None,
    nbin=6,
    energies=("0.5 TeV", "50 TeV"),
    binsz_irf=0.5,
    true=("0.3 TeV", "70 TeV", 9),
):
    from astropy.coordinates import SkyCoord

    energy = MapAxis.from_energy_bounds(*energies, nbin=nbin)
    energy_true = MapAxis.from_energy_bounds(*true, name="energy_true")
    geom = WcsGeom.create(
        SkyCoord(*center, unit="deg"), binsz=binsz, width=width, frame=frame, proj=proj, axes=[energy]
    )
    return MapDataset.create(geom, energy_true, migra_axis=migra, binsz_irf=binsz_irf, name="reference")


def check(array, expected, rtol=1e-6, of_max=None):
    """Sampled values and sums: relative, or relative to the largest value."""
    assert list(array.shape) == expected["shape"]
    values, wanted = array.astype(np.float64).ravel()[expected["index"]], np.array(expected["values"])
    sums = array.sum(axis=tuple(range(1, array.ndim)), dtype=np.float64)
    assert expected["max"] > 0
    if of_max is None:
        np.testing.assert_allclose(values, wanted, rtol=rtol, atol=1e-30)
        np.testing.assert_allclose(sums, expected["sums"], rtol=rtol)
    else:
        np.testing.assert_allclose(values, wanted, rtol=0, atol=of_max * expected["max"])
        np.testing.assert_allclose(sums, expected["sums"], rtol=of_max)


@pytest.mark.parametrize("case", REFERENCE["altaz"], ids=lambda case: str(case["obs_id"]))
def test_background_aligned_with_the_horizon(case, gammapy_data):
    observation = hess(gammapy_data, case["obs_id"])
    observation.bkg.fov_alignment = "ALTAZ"
    dataset = MapDatasetMaker(selection=["background"]).run(empty(case["center"], 0.04, (5, 4)), observation)
    observation.bkg.fov_alignment = "REVERSE_LON_RADEC"
    check(dataset.array("background"), case["background"])


def test_king_profile(gammapy_data):
    energy = IrfAxis.from_edges(synthetic.ENERGY_TRUE_EDGES, "energy_true", "log")
    offset = IrfAxis.from_nodes(synthetic.OFFSET_NODES, "offset", "lin")
    observation = with_irf(
        hess(gammapy_data, 23523), "psf", PSFKing([energy, offset], synthetic.king_tables())
    )
    dataset = MapDatasetMaker(selection=["psf"]).run(empty(CRAB, 0.1, (5, 4)), observation)
    check(dataset.array("psf"), REFERENCE["king"]["psf"], of_max=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("default", {}),
        ("no_padding", {"background_pad_offset": False}),
        ("no_filling", {"background_interp_missing_data": False}),
        ("oversampled", {"background_oversampling": 3}),
    ],
)
def test_background_over_offset(name, options, gammapy_data):
    energy = IrfAxis.from_edges(synthetic.ENERGY_EDGES, "energy", "log")
    offset = IrfAxis.from_edges(synthetic.OFFSET_EDGES, "offset", "lin")
    bkg = Background2D([energy, offset], synthetic.background_2d_table())
    observation = with_irf(hess(gammapy_data, 23523), "bkg", bkg)
    reference = empty(CRAB, 0.1, (5, 4), energies=("0.5 TeV", "90 TeV"))
    dataset = MapDatasetMaker(selection=["background"], **options).run(reference, observation)
    expected = REFERENCE["background_2d"][name]
    # The last bin of the map reaches beyond the response; oversampled, only a part of it does
    assert (dataset.array("background")[-1].max() == 0) == (name != "oversampled")
    check(dataset.array("background"), expected)


@pytest.mark.parametrize("name", list(REFERENCE["projections"]))
def test_other_projections(name, gammapy_data):
    case = REFERENCE["projections"][name]
    observation = hess(gammapy_data, 23523)
    dataset = MapDatasetMaker().run(empty(CRAB, 0.1, (5, 4), case["proj"], case["frame"]), observation)
    dataset = SafeMaskMaker(["aeff-default", "offset-max"], offset_max="2 deg").run(dataset, observation)
    for quantity in ("counts", "mask_safe"):
        check(dataset.array(quantity), case[quantity], rtol=0)
    check(dataset.array("exposure"), case["exposure"])
    # The reference's solid angles are those of plane quadrilaterals
    check(dataset.array("background"), case["background"], rtol=3e-6)
    check(dataset.array("psf"), case["psf"], of_max=1e-6)
    check(dataset.array("edisp"), case["edisp"], of_max=1e-6)


@pytest.mark.parametrize("name", ["hess", "cta"])
def test_energy_dispersion_over_a_migration_axis(name, gammapy_data):
    if name == "hess":
        observation, center = hess(gammapy_data, 20282), (228.529, -59.157)
    else:
        observation = DataStore.from_dir(gammapy_data / "cta-1dc/index/gps").obs(110380)
        center = (266.40498829, -28.93617776)
    migra = MapAxis.from_bounds(0.2, 5, 48, "migra")
    dataset = MapDatasetMaker(selection=["edisp"]).run(empty(center, 0.1, (5, 4), migra=migra), observation)
    assert dataset.data["edisp"].dims[1] == "migra"
    check(dataset.array("edisp"), REFERENCE["migra"][name], of_max=1e-6)


def mask_id(case):
    options = "-".join(str(value) for value in case["options"].values() if not isinstance(value, dict))
    return f"{case['instrument']}-{'migra-' if case['migra'] else ''}{options}"


@pytest.mark.parametrize("case", REFERENCE["safe_masks"], ids=mask_id)
def test_safe_mask_methods(case, gammapy_data):
    if case["instrument"] == "hess":
        observation, center = hess(gammapy_data, 23523), CRAB
    else:
        observation = DataStore.from_dir(gammapy_data / "cta-1dc/index/gps").obs(110380)
        center = (266.40498829, -28.93617776)
    migra = MapAxis.from_bounds(0.2, 5, 160, "migra") if case["migra"] else None
    wide = {"energies": ("0.015 TeV", "60 TeV"), "true": ("0.013 TeV", "80 TeV", 30)}
    reference = empty(center, 0.1, (4.1, 4.1), migra=migra, nbin=40, binsz_irf=0.45, **wide)
    dataset = MapDatasetMaker().run(reference, observation)
    masked = SafeMaskMaker(**case["options"]).run(dataset, observation)
    assert masked.array("mask_safe").sum(axis=(1, 2)).tolist() == case["safe"]
    assert 0 < sum(case["safe"]) < 40 * 41 * 41
