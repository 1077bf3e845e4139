"""Spectra: the same datasets without pixels."""

from __future__ import annotations

import pickle

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
    lift,
    stack,
)
from gammaflow.errors import GeometryError, SchemaError
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import ENERGY, ENERGY_TRUE, RAD, any_dataset, random_dataset, spectrum_geometry

SPECTRUM = spectrum_geometry()


class TestGeometry:
    def test_shapes(self):
        assert SPECTRUM.shapes["counts"] == (3,)
        assert SPECTRUM.shapes["edisp"] == (4, 3)
        assert SPECTRUM.cube_shapes["edisp"] == (4, 3, 1, 1)
        assert "psf" not in SPECTRUM.shapes
        assert spectrum_geometry(migra=True).shapes["edisp"] == (4, 6)

    def test_round_trips(self):
        for geometry in (SPECTRUM, spectrum_geometry(migra=True)):
            assert SpectrumDatasetGeometry.from_dict(geometry.to_dict()) == geometry
            assert pickle.loads(pickle.dumps(geometry)) == geometry
            assert hash(pickle.loads(pickle.dumps(geometry))) == hash(geometry)

    def test_the_energy_axis_is_needed(self):
        with pytest.raises(GeometryError, match="just 'energy'"):
            SpectrumDataset.create(RegionGeom.create("icrs;circle(1,1,1)"))
        with pytest.raises(GeometryError, match="in the place of"):
            SpectrumDatasetGeometry.create(SPECTRUM.geom, ENERGY)

    @pytest.mark.parametrize(
        ("other", "said"),
        [
            (spectrum_geometry(radius=0.2), "radius of the region: 0.2 and 0.1"),
            (spectrum_geometry(migra=True), "one has this axis"),
            (
                SpectrumDatasetGeometry.create(
                    RegionGeom.create(
                        "icrs;circle(83.6333,22.0145,0.1)",
                        [MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 2)],
                    ),
                    ENERGY_TRUE,
                ),
                "nbin",
            ),
        ],
    )
    def test_what_cannot_be_stacked_is_told_by_its_number(self, other, said):
        one, two = (random_dataset(g, 1, kind=SpectrumDataset) for g in (SPECTRUM, other))
        with pytest.raises(GeometryError, match=said):
            stack([one, two])

    def test_maps_and_spectra_do_not_mix(self):
        with pytest.raises(GeometryError, match="MapDatasetGeometry"):
            lift(any_dataset("SpectrumDataset"), any_dataset("MapDataset").geometry)


def test_create_is_empty_and_costs_nothing():
    for kind in (SpectrumDataset, SpectrumDatasetOnOff):
        empty = kind.create(SPECTRUM.geom, ENERGY_TRUE, name="e")
        assert empty.geometry == SPECTRUM
        assert set(kind.arrays) - {"mask_fit"} == set(empty.data.data_vars) & set(kind.arrays)
        assert not any(np.any(empty.array(n)) for n in kind.arrays if n != "mask_fit")
        assert empty.array("counts").strides == (0,)


def test_the_map_types_from_their_geometries():
    geom = WcsGeom.create(width=4, binsz=0.5, axes=[ENERGY])
    irf = geom.to_image().to_binsz(1.0)
    geoms = (
        geom.to_image().to_cube([ENERGY_TRUE]),
        irf.to_cube([RAD, ENERGY_TRUE]),
        irf.to_cube([ENERGY, ENERGY_TRUE]),
    )
    for kind in (MapDataset, MapDatasetOnOff):
        empty = kind.from_geoms(geom, *geoms)
        assert empty.geometry == MapDatasetGeometry.create(geom, ENERGY_TRUE, RAD, binsz_irf=1.0)
    with pytest.raises(GeometryError, match="edisp and psf are not on the same pixels"):
        MapDataset.from_geoms(geom, geoms[0], geoms[1], geom.to_cube([ENERGY_TRUE]))


def test_labelled_without_pixels():
    data = any_dataset("SpectrumDatasetOnOff").data
    assert data["counts"].dims == ("energy",)
    assert data["edisp"].dims == ("energy_true", "energy")
    assert data["wcs"].attrs["region"] == "icrs;circle(83.6333,22.0145,0.1)"
    assert any_dataset("SpectrumDataset", migra=True).data["edisp"].dims == ("energy_true", "migra")


@pytest.mark.parametrize("tag", ["SpectrumDataset", "SpectrumDatasetOnOff", "MapDatasetOnOff"])
class TestEveryType:
    def test_from_xarray_finds_the_type(self, tag):
        d = any_dataset(tag)
        for asked in (CountsDataset, type(d)):
            back = asked.from_xarray(d.to_xarray())
            assert type(back) is type(d)
            assert back.data.identical(d.data)
            assert back.geometry == d.geometry
        other = MapDataset if tag.startswith("Spectrum") else SpectrumDataset
        with pytest.raises(SchemaError, match=f"holds a {tag}, not a {other.tag}"):
            other.from_xarray(d.to_xarray())

    def test_it_survives_pickle(self, tag):
        d = any_dataset(tag)
        assert pickle.loads(pickle.dumps(d)).data.identical(d.data)

    def test_arrays_are_checked(self, tag):
        d = any_dataset(tag)
        with pytest.raises(SchemaError, match="'flux'"):
            type(d).from_arrays(d.geometry, "d", flux=np.zeros(1))
        with pytest.raises(SchemaError, match="counts: shape"):
            type(d).from_arrays(d.geometry, "d", counts=np.zeros((1, 1), int))

    def test_other_arrays_share_the_rest(self, tag):
        d = any_dataset(tag)
        other = d.with_arrays(mask_safe=np.zeros(d.data_shape, bool))
        assert np.shares_memory(other.array("counts"), d.array("counts"))
        assert d.array("mask_safe").any()

    def test_summary_is_of_the_safe_bins(self, tag):
        d = any_dataset(tag)
        mask, summary = d.array("mask_safe"), d.summary(stat=True)
        assert summary.counts == d.array("counts")[mask].sum()
        assert summary.background == pytest.approx(d.background.values[mask].sum(dtype=float), rel=1e-6)
        assert summary.n_bins == mask.size
        if tag.endswith("OnOff"):
            assert summary.counts_off == d.array("counts_off")[mask].sum()
            assert summary.stat_sum == pytest.approx(d.stat_array().values[mask].sum())
            assert summary.alpha == pytest.approx(summary.background / summary.counts_off)
            assert "Total counts_off" in str(d)
        else:
            assert "counts_off" not in d.info_dict()


def test_stacking_a_spectrum_applies_norms_and_weighs_the_dispersion():
    one, two = any_dataset("SpectrumDataset", 1), any_dataset("SpectrumDataset", 2)
    one.models = model = FoVBackgroundModel(dataset_name=one.name)
    model.spectral_model.norm.value = 1.5
    stacked = stack([one, two])
    e = [d.array("mask_safe") for d in (one, two)]
    expected = one.background * 1.5 * e[0] + two.background * e[1]
    np.testing.assert_allclose(stacked.background, expected, rtol=1e-6)
    eps = [
        d.array("edisp_exposure").astype(float)[:, None] * m.any() for d, m in zip((one, two), e, strict=True)
    ]
    numerator = sum(d.array("edisp") * w * m for d, w, m in zip((one, two), eps, e, strict=True))
    np.testing.assert_allclose(stacked.edisp, numerator / sum(eps), rtol=1e-6)
    np.testing.assert_array_equal(stacked.mask_safe, e[0] | e[1])


def test_entries_of_a_datasets_file():
    entry = any_dataset("SpectrumDatasetOnOff", name="run").to_dict()
    assert entry == {"name": "run", "type": "SpectrumDatasetOnOff", "filename": "run.zarr"}
