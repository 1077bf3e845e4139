"""Real runs with their background from the data, against the numbers of the field's reference."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammaflow.data import DataStore
from gammaflow.datasets import MapDatasetGeometry, SpectrumDatasetGeometry, SpectrumDatasetOnOff, stack
from gammaflow.makers import (
    ExclusionMask,
    MakerChain,
    MapDatasetMaker,
    ReflectedRegionsBackgroundMaker,
    RingBackgroundMaker,
    SafeMaskMaker,
    SpectrumDatasetMaker,
)
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom
from tests.oracle import assert_like_oracle, load_oracle

CRAB = (23523, 23526, 23559, 23592)
PKS = (33787, 33788, 33789, 33790, 33791, 33792)
OFF_REGIONS = {23523: 9, 23526: 9, 23559: 39, 23592: 39}


def crab_chain():
    # The reference's, to the pixel: which regions there is place for depends on it
    center = SkyCoord(183.604, -8.708, unit="deg", frame="galactic")
    geom = WcsGeom.create(center, binsz=0.05, npix=(150, 150), proj="TAN")
    mask = ExclusionMask(geom, geom.region_mask("icrs;circle(83.63,22.01,0.5)", inside=False))
    return MakerChain(
        SpectrumDatasetMaker(["counts", "exposure", "edisp"], containment_correction=True),
        (ReflectedRegionsBackgroundMaker(exclusion_mask=mask), SafeMaskMaker(["aeff-max"], aeff_percent=10)),
    )


def crab_geometry():
    energy = MapAxis.from_energy_bounds("0.1 TeV", "40 TeV", 10, per_decade=True)
    true = MapAxis.from_energy_bounds("0.05 TeV", "100 TeV", 20, per_decade=True, name="energy_true")
    return SpectrumDatasetGeometry.create(RegionGeom.create("icrs;circle(83.63,22.01,0.11)", [energy]), true)


@pytest.fixture(scope="module")
def crab_spectra(gammapy_data):
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    chain, geometry = crab_chain(), crab_geometry()
    return {obs_id: chain.run(store.obs(obs_id), geometry, str(obs_id)) for obs_id in CRAB}


def as_spectrum(reference):
    """The reference's numbers of a spectrum, whose arrays have more dimensions, of one bin or pixel."""
    return {**reference, "shape": [n for n in reference["shape"] if n > 1]}


def assert_spectrum(dataset, expected):
    for name in ("counts", "counts_off", "mask_safe"):
        assert_like_oracle(dataset.array(name), as_spectrum(expected[name]), name=name)
        assert dataset.array(name).sum() == expected[name]["sum"]
    for name in ("exposure", "edisp_exposure", "acceptance", "acceptance_off"):
        assert_like_oracle(dataset.array(name), as_spectrum(expected[name]), rtol=1e-6, name=name)
    assert_like_oracle(
        dataset.array("edisp"), as_spectrum(expected["edisp"]), rtol=1e-6, atol=1e-7, name="edisp"
    )
    assert_like_oracle(
        dataset.background.values, as_spectrum(expected["background"]), rtol=1e-6, name="background"
    )


@pytest.mark.parametrize("obs_id", CRAB)
def test_a_spectrum_with_reflected_regions_agrees_with_the_reference(crab_spectra, obs_id):
    expected = next(o for o in load_oracle("hess_crab_1d")["observations"] if o["name"] == str(obs_id))
    dataset = crab_spectra[obs_id]
    assert isinstance(dataset, SpectrumDatasetOnOff)
    assert_spectrum(dataset, expected)
    assert dataset.livetime == pytest.approx(expected["livetime_s"], rel=1e-12)
    assert len(dataset.meta["off_regions"].splitlines()) == OFF_REGIONS[obs_id]
    assert (dataset.array("acceptance_off") == OFF_REGIONS[obs_id]).all()


def test_the_stacked_spectrum_agrees_with_the_reference(crab_spectra):
    expected = load_oracle("hess_crab_1d")["stacked"]
    assert_spectrum(stack(crab_spectra.values()), expected)


def ring_setup():
    energy = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", 1)
    true = MapAxis.from_energy_bounds("0.3 TeV", "40 TeV", 12, name="energy_true")
    geom = WcsGeom.create((329.7169, -30.2256), binsz=0.02, width=(4, 4), axes=[energy])
    image = geom.to_image()
    mask = ExclusionMask(image, image.region_mask("icrs;circle(329.7169,-30.2256,0.3)", inside=False))
    chain = MakerChain(
        MapDatasetMaker(),
        (
            SafeMaskMaker(["aeff-default", "offset-max"], offset_max="2 deg"),
            RingBackgroundMaker("0.5 deg", "0.3 deg", mask),
        ),
        4.0,
    )
    return chain, MapDatasetGeometry.create(geom, true, binsz_irf=0.2)


def test_ring_backgrounds_and_their_stack_agree_with_the_reference(gammapy_data):
    oracle = load_oracle("hess_pks2155_ring")
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    chain, geometry = ring_setup()
    datasets = [chain.run(store.obs(obs_id), geometry) for obs_id in PKS]
    stacked = stack(datasets, geometry=geometry)
    for dataset, expected in zip(
        [*datasets, stacked], [*oracle["observations"], oracle["stacked"]], strict=True
    ):
        for name in ("counts", "mask_safe"):
            assert_like_oracle(dataset.array(name), expected[name], name=name)
        for name in ("acceptance", "acceptance_off", "counts_off"):
            assert_like_oracle(dataset.array(name), expected[name], rtol=1e-5, name=name)
    alpha = stacked.alpha.values
    assert_like_oracle(alpha, oracle["stacked_alpha"], rtol=1e-5, name="alpha")
    assert np.isfinite(alpha).all()
