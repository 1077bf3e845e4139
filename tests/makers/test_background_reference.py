"""Spectra and measured backgrounds of real runs against the field's reference."""

import numpy as np
import pytest

from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.makers import (
    AdaptiveRingBackgroundMaker,
    ExclusionMask,
    MapDatasetMaker,
    PhaseBackgroundMaker,
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    SafeMaskMaker,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
)
from gammaflow.maps import MapAxis, WcsGeom
from tests.makers import crab

REFERENCE = crab.reference()


@pytest.mark.parametrize("obs_id", [23523, 23559])
@pytest.mark.parametrize("region", ["circle", "galactic", "ellipse", "rectangle"])
def test_regions_and_counts_around_the_pointing(gammapy_data, obs_id, region):
    observation = crab.observation(gammapy_data, obs_id)
    dataset = SpectrumDatasetMaker(["counts"]).run(crab.empty(region), observation)
    rows = [r for r in REFERENCE["off_regions"] if (r["obs_id"], r["region"]) == (obs_id, region)]
    assert len(rows) == 12
    for row in rows:
        mask = crab.exclusion() if row["exclusion"] else None
        made = ReflectedRegionsBackgroundMaker(crab.FINDERS[row["finder"]], mask).run(dataset, observation)
        np.testing.assert_array_equal(made.array("counts"), row["counts"])
        assert made.array("mask_safe").any() == row["safe"], row
        if row["counts_off"] is None:
            assert made.array("counts_off") is None
        else:
            assert (made.array("acceptance") == 1).all()
            assert (made.array("acceptance_off") == row["n"]).all(), row
            np.testing.assert_array_equal(made.array("counts_off"), row["counts_off"], err_msg=str(row))


def test_reflected_regions_lie_where_the_reference_finds_them(gammapy_data):
    pointing = crab.observation(gammapy_data, 23523).pointing
    region = crab.geometry("circle").geom.region
    regions, wcs = ReflectedRegionsFinder().run(region, pointing.icrs, crab.exclusion())
    found = [[r.center.ra.deg, r.center.dec.deg, r.radius.to_value("deg")] for r in regions]
    np.testing.assert_allclose(found, REFERENCE["off_centers"], rtol=0, atol=1e-9)
    assert wcs.wcs.ctype[0] == "RA---TAN"


@pytest.mark.parametrize("row", REFERENCE["spectra"], ids=lambda r: f"{r['region']} {r['use_region_center']}")
def test_exposure_and_background_at_the_centre_and_over_the_region(gammapy_data, row):
    maker = SpectrumDatasetMaker(
        use_region_center=row["use_region_center"], containment_correction=row["region"] == "circle"
    )
    dataset = maker.run(crab.empty(row["region"]), crab.observation(gammapy_data, 23523))
    # The grids of pixels that a region is averaged on lie up to half a pixel apart
    rtol = 1e-6 if row["use_region_center"] else 2e-4
    for name in ("exposure", "background", "edisp", "edisp_exposure"):
        expected = np.array(row[name])
        np.testing.assert_allclose(
            dataset.array(name).ravel(), expected, rtol=rtol, atol=1e-7 * expected.max(), err_msg=name
        )


@pytest.mark.parametrize("row", REFERENCE["safe_masks"], ids=lambda r: f"{r['arguments']} {r['on_off']}")
def test_safe_masks_of_spectra(gammapy_data, row):
    observation = crab.observation(gammapy_data, 23559)
    dataset = SpectrumDatasetMaker().run(crab.empty(), observation)
    if row["on_off"]:
        dataset = ReflectedRegionsBackgroundMaker(exclusion_mask=crab.exclusion()).run(dataset, observation)
    masked = SafeMaskMaker(**row["arguments"]).run(dataset, observation)
    assert type(masked) is type(dataset)
    np.testing.assert_array_equal(masked.array("mask_safe"), np.array(row["mask"], dtype=bool))


@pytest.mark.parametrize("row", REFERENCE["phases"], ids=lambda r: f"{r['case']}, {r['kind']}")
def test_counts_by_phase(gammapy_data, row):
    observation = crab.with_phases(crab.observation(gammapy_data, 23523))
    if row["kind"] == "spectrum":
        dataset = SpectrumDatasetMaker(["counts", "exposure"]).run(crab.empty(), observation)
    else:
        geom = WcsGeom.create(crab.CRAB, width=1, binsz=0.1, axes=[crab.ENERGY])
        whole = MapDataset.create(geom, energy_axis_true=crab.TRUE)
        dataset = MapDatasetMaker(["counts", "exposure"]).run(whole, observation)
    made = PhaseBackgroundMaker(**crab.PHASES[row["case"]]).run(dataset, observation)
    for name in ("counts", "counts_off"):
        np.testing.assert_array_equal(made.array(name).ravel(), row[name])
    for name in ("acceptance", "acceptance_off"):
        np.testing.assert_allclose(made.array(name), row[name], rtol=1e-6)
    assert made.array("exposure").sum(dtype=float) == pytest.approx(row["exposure_sum"], rel=1e-6)


@pytest.mark.parametrize("row", REFERENCE["cuts"], ids=lambda r: f"{r['obs_id']} {r['n_off_regions']}")
def test_counts_within_a_cut_that_depends_on_the_energy(gammapy_data, row):
    observation = crab.with_parts(
        crab.observation(gammapy_data, row["obs_id"]), rad_max=crab.directional_cut()
    )
    dataset = SpectrumDatasetMaker(["counts"]).run(crab.empty("point"), observation)
    np.testing.assert_array_equal(dataset.array("counts"), row["counts"])
    finder = WobbleRegionsFinder(row["n_off_regions"])
    made = ReflectedRegionsBackgroundMaker(finder, crab.exclusion()).run(dataset, observation)
    if row["counts_off"] is None:
        assert made.array("counts_off") is None
        assert "overlap" in made.meta["background_failure"]
    else:
        np.testing.assert_array_equal(made.array("counts_off"), row["counts_off"])
        assert (made.array("acceptance_off") == row["n"]).all()


ADAPTIVE = {
    "fixed_width": {
        "r_in": "0.4 deg",
        "r_out_max": "0.9 deg",
        "width": "0.1 deg",
        "threshold_alpha": 0.005,
    },
    "fixed_r_in": {
        "r_in": "0.3 deg",
        "r_out_max": "0.8 deg",
        "width": "0.1 deg",
        "stepsize": "0.05 deg",
        "threshold_alpha": 0.004,
    },
}


@pytest.mark.parametrize("row", REFERENCE["adaptive_rings"], ids=lambda r: r["method"])
def test_adaptive_rings(gammapy_data, row):
    energy = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", 1)
    geom = WcsGeom.create(crab.CRAB, width=(2, 2), binsz=0.04, axes=[energy])
    image = geom.to_image()
    mask = ExclusionMask(image, image.region_mask("icrs;circle(83.63,22.01,0.3)", inside=False))
    whole = MapDataset.create(MapDatasetGeometry.create(geom, crab.TRUE))
    observation = crab.observation(gammapy_data, 23523)
    dataset = MapDatasetMaker(["counts", "exposure", "background"]).run(whole, observation)
    maker = AdaptiveRingBackgroundMaker(method=row["method"], exclusion_mask=mask, **ADAPTIVE[row["method"]])
    made = maker.run(dataset, observation)
    off = np.array(row["acceptance_off"])
    measured = off > 0
    assert 0 < measured.sum() < measured.size
    mine = made.array("acceptance_off").ravel()
    np.testing.assert_allclose(mine[::3], off, rtol=1e-4)
    np.testing.assert_array_equal(made.array("counts_off").ravel()[::3], row["counts_off"])
    np.testing.assert_array_equal(made.array("mask_safe").ravel(), mine > 0)
    alpha = made.alpha.values.ravel()
    assert alpha[mine > 0].max() <= maker.threshold_alpha * (1 + 1e-6)
    assert (made.array("acceptance").ravel()[mine == 0] == 0).all()
