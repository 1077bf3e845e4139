"""Real observations, reduced, against the numbers of the field's reference: bin by bin where it says so."""

import numpy as np
import pytest

from gammaflow.data import DataStore
from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.makers import ExclusionMask, FoVBackgroundMaker, MakerChain, MapDatasetMaker, SafeMaskMaker
from gammaflow.maps import MapAxis, WcsGeom, lonlat_to_vectors, separation
from tests.oracle import assert_like_oracle, load_oracle

GC = (110380, 111140, 111159)
CRAB = (23523, 23526, 23559, 23592)
MSH = (20136, 20137, 20151, 20282, 20283, 20301, 20302, 20303, 20322, 20323, 20324, 20325)
MSH += (20343, 20344, 20345, 20346, 20365, 20366, 20367, 20368)
HESS = {"hess_crab_3d": (83.63, 22.01, 0.3), "hess_msh_3d": (228.529, -59.157, 0.4)}
CASES = [("gc", i) for i in GC] + [("hess_crab_3d", i) for i in CRAB] + [("hess_msh_3d", i) for i in MSH]
SR_TO_DEG2 = (np.pi / 180) ** 2


def geometry(case: str) -> MapDatasetGeometry:
    if case == "gc":
        energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=10)
        true = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", nbin=14, name="energy_true")
        geom = WcsGeom.create((0, 0), binsz=0.02, width=(10, 8), frame="galactic", axes=[energy])
    else:
        lon, lat, _ = HESS[case]
        energy = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=10)
        true = MapAxis.from_energy_bounds("0.3 TeV", "70 TeV", nbin=20, name="energy_true")
        geom = WcsGeom.create((lon, lat), binsz=0.02, width=(5, 5), axes=[energy])
    return MapDatasetGeometry.create(geom, true, binsz_irf=0.2)


def exclusion(case: str, geom: WcsGeom) -> ExclusionMask:
    lon, lat, radius = HESS[case]
    image = geom.to_image()
    return ExclusionMask(image, separation(image.pixel_vectors(), lonlat_to_vectors(lon, lat)) >= radius)


def reduced(case: str, obs_id: int, gammapy_data) -> MapDataset:
    store = "cta-1dc/index/gps" if case == "gc" else "hess-dl3-dr1"
    reference = geometry(case)
    makers = [
        SafeMaskMaker(["aeff-default", "offset-max"], offset_max="3 deg" if case == "gc" else "2.5 deg")
    ]
    if case != "gc":
        makers.append(FoVBackgroundMaker(method="fit", exclusion_mask=exclusion(case, reference.geom)))
    chain = MakerChain(MapDatasetMaker(), tuple(makers), 7.0 if case == "gc" else 5.0)
    return chain.run(DataStore.from_dir(gammapy_data / store).obs(obs_id), reference)


@pytest.mark.parametrize(("case", "obs_id"), CASES)
def test_reduced_observation_agrees_with_the_reference(case, obs_id, gammapy_data):
    oracle = load_oracle(case)
    expected = next(o for o in oracle["observations"] if o["name"] == f"obs-{obs_id}")
    dataset = reduced(case, obs_id, gammapy_data)
    assert dataset.name == expected["name"]
    assert dataset.livetime == pytest.approx(expected["livetime_s"], rel=1e-12)
    for name in ("counts", "mask_safe"):
        assert_like_oracle(dataset.array(name), expected[name], name=name)
        assert dataset.array(name).sum() == expected[name]["sum"]
    for name in ("exposure", "background"):
        # Values far below what counts (1e-30 of it) are noise of an extrapolation in both
        atol = 1e-20 * expected[name]["max"]
        assert_like_oracle(dataset.array(name), expected[name], rtol=1e-6, atol=atol, name=name)
    for name in ("psf_exposure", "edisp_exposure"):
        reference = {**expected[name], "shape": list(dataset.array(name).shape)}
        assert_like_oracle(dataset.array(name), reference, rtol=1e-6, name=name)
    psf = dataset.array("psf").astype(np.float64) * SR_TO_DEG2
    for name, values in (("psf", psf), ("edisp", dataset.array("edisp"))):
        atol = 1e-6 * expected[name]["max"]
        assert_like_oracle(values, expected[name], atol=atol, sum_rtol=1e-6, name=name)
    if case != "gc":
        norm = dataset.models.parameters["norm"].value
        assert norm == pytest.approx(oracle["fov_norms"][dataset.name], rel=3e-4)


@pytest.mark.parametrize(
    ("case", "obs_id"), [("hess_crab_3d", i) for i in CRAB] + [("hess_msh_3d", i) for i in MSH[:4]]
)
def test_fov_norm_is_the_ratio_of_two_sums(case, obs_id, gammapy_data):
    dataset = reduced(case, obs_id, gammapy_data)
    mask = dataset.array("mask_safe") & exclusion(case, geometry(case).geom).on(dataset.geom)
    counts = dataset.array("counts")[mask].sum(dtype=np.float64)
    background = dataset.array("background")[mask].sum(dtype=np.float64)
    norm = dataset.models.parameters["norm"]
    assert norm.value == pytest.approx(counts / background, rel=1e-12)
    assert norm.error == pytest.approx(np.sqrt(counts) / background, rel=1e-12)
    assert dataset.observations["background_norm"].tolist() == [norm.value]


def test_a_second_reduction_gives_the_same_bits(gammapy_data):
    first, second = (reduced("gc", 110380, gammapy_data) for _ in range(2))
    for name in ("counts", "mask_safe", "background", "exposure", "psf", "edisp"):
        np.testing.assert_array_equal(first.array(name), second.array(name))
