"""Other bins and pixels: what is conserved, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gammaflow.errors import GeometryError, UnsupportedError
from gammaflow.maps import MapAxis
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import ENERGY, any_dataset

quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MAPS = ("MapDataset", "MapDatasetOnOff")
ALL = (*MAPS, "SpectrumDataset", "SpectrumDatasetOnOff")
REGION = "galactic;circle(0.3,0.2,1.2)"
TWO = MapAxis.from_energy_edges(ENERGY.edges[[0, 1, 3]], unit="TeV")


def safe_sum(dataset, name):
    return float(np.sum(getattr(dataset, name).values[dataset.array("mask_safe")], dtype=float))


@quick
@given(st.sampled_from(ALL), st.integers(0, 10**6), st.booleans())
def test_safe_counts_and_background_are_conserved(tag, seed, migra):
    dataset = any_dataset(tag, seed, migra=migra)
    results = [dataset.to_image(), dataset.resample_energy_axis(TWO)]
    if tag in MAPS:
        results += [dataset.downsample(2), dataset.pad((1, 2))]
    for result in results:
        assert type(result) is type(dataset)
        for name in ("counts", "background", *(("counts_off",) if tag.endswith("OnOff") else ())):
            assert safe_sum(result, name) == pytest.approx(safe_sum(dataset, name), rel=1e-6, abs=1e-9)
        assert result.livetime == dataset.livetime
        assert result.observations == dataset.observations
        assert result.gti.ontime == dataset.gti.ontime


@pytest.mark.parametrize("tag", ALL)
class TestEnergies:
    def test_slices_are_views(self, tag):
        dataset = any_dataset(tag)
        part = dataset.slice_by_idx({"energy": slice(1, 3), "energy_true": slice(0, 2)}, name="part")
        assert np.shares_memory(part.array("counts"), dataset.array("counts"))
        np.testing.assert_array_equal(part.array("counts"), dataset.array("counts")[1:3])
        np.testing.assert_array_equal(part.array("edisp"), dataset.array("edisp")[:2, 1:3])
        assert type(part).from_xarray(part.to_xarray()).geometry == part.geometry
        assert (part.name, dataset.name) == ("part", "obs-0")

    def test_energies_are_moved_to_the_nearest_edge(self, tag):
        part = any_dataset(tag).slice_by_energy("500 GeV", 11.0)
        np.testing.assert_allclose(part.geometry.energy_axis.edges, ENERGY.edges[1:])
        with pytest.raises(GeometryError, match="holds no bin"):
            any_dataset(tag).slice_by_energy(20.0, 30.0)
        with pytest.raises(GeometryError, match="slice"):
            any_dataset(tag).slice_by_idx({"rad": slice(0, 1)})

    def test_the_dispersion_of_safe_bins_is_added(self, tag):
        dataset = any_dataset(tag, safe=1.0)
        safe = dataset.array("mask_safe").copy()
        safe[0] = False
        dataset = dataset.with_arrays(mask_safe=safe)
        rows = dataset.array("edisp").astype(float)
        found = dataset.resample_energy_axis(TWO).array("edisp")
        np.testing.assert_allclose(found[:, 0], 0 * rows[:, 0])
        np.testing.assert_allclose(found[:, 1], rows[:, 1] + rows[:, 2], rtol=1e-6)

    def test_joining_bins_by_a_factor(self, tag):
        image = any_dataset(tag).downsample(3, axis_name="energy")
        np.testing.assert_array_equal(image.counts, any_dataset(tag).to_image().counts)
        with pytest.raises(GeometryError, match="3 energy bins cannot be joined by 2"):
            any_dataset(tag).downsample(2, axis_name="energy")


class TestPixels:
    @pytest.mark.parametrize("tag", MAPS)
    def test_larger_pixels_lie_where_the_small_ones_did(self, tag):
        dataset = any_dataset(tag)
        coarse = dataset.downsample(2)
        assert coarse.geom.shape_image == (6, 8)
        np.testing.assert_allclose(coarse.geom.center_lonlat, dataset.geom.center_lonlat, atol=1e-9)
        assert coarse.geom.width == pytest.approx(dataset.geom.width)
        exposure = dataset.array("exposure").reshape(4, 6, 2, 8, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(coarse.exposure, exposure, rtol=1e-6)

    @pytest.mark.parametrize("tag", MAPS)
    def test_padding_and_cutting_is_the_identity(self, tag):
        dataset = any_dataset(tag)
        padded = dataset.pad(2)
        inner = padded.data.isel(y=slice(2, -2), x=slice(2, -2))
        for name in ("counts", "mask_safe", "exposure"):
            np.testing.assert_array_equal(inner[name], dataset.array(name))
        assert dataset.geom.to_image().slices_in(padded.geom.to_image()) == (slice(2, 14), slice(2, 18))
        assert not padded.array("mask_safe")[:, :2].any()

    def test_what_cannot_be_done(self):
        with pytest.raises(GeometryError, match="12 rows cannot be joined by 5"):
            any_dataset("MapDataset").downsample(5)
        with pytest.raises(GeometryError, match="no pixels"):
            any_dataset("SpectrumDataset").downsample(2)
        with pytest.raises(GeometryError, match="columns"):
            any_dataset("MapDataset").pad(-1)

    def test_norms_are_applied(self):
        dataset = any_dataset("MapDataset")
        dataset.models = model = FoVBackgroundModel(dataset_name=dataset.name)
        model.spectral_model.norm.value = 2.0
        for result in (dataset.to_image(), dataset.downsample(2), dataset.pad(1)):
            assert result.models is None
            assert safe_sum(result, "background") == pytest.approx(
                2 * safe_sum(dataset, "background"), rel=1e-6
            )


class TestExtraction:
    @pytest.mark.parametrize("tag", MAPS)
    def test_sums_means_and_the_nearest_dispersion(self, tag):
        dataset = any_dataset(tag, safe=1.0)
        inside = dataset.geom.region_mask(REGION)
        spectrum = dataset.to_spectrum_dataset(REGION, name="on")
        assert spectrum.tag == tag.replace("Map", "Spectrum")
        np.testing.assert_array_equal(spectrum.counts, dataset.array("counts")[:, inside].sum(axis=1))
        np.testing.assert_allclose(
            spectrum.exposure, dataset.array("exposure")[:, inside].mean(axis=1), rtol=1e-6
        )
        np.testing.assert_allclose(
            spectrum.background, dataset.background.values[:, inside].sum(axis=1, dtype=float), rtol=1e-6
        )
        x, y = (
            int(np.round(p)) for p in dataset.geometry.geom_irf.vectors_to_pix(spectrum.geom.center_vector)
        )
        np.testing.assert_array_equal(spectrum.edisp, dataset.array("edisp")[..., y, x])
        if tag.endswith("OnOff"):
            assert float(spectrum.excess.sum()) == pytest.approx(
                float(dataset.excess.values[:, inside].sum()), rel=1e-6
            )

    def test_a_point_is_its_pixel(self):
        dataset = any_dataset("MapDataset", safe=1.0)
        y, x = 4, 7
        lon, lat = dataset.geom.pix_to_sky(x + 0.2, y - 0.2)
        spectrum = dataset.to_spectrum_dataset(f"galactic;point({lon},{lat})")
        np.testing.assert_array_equal(spectrum.counts, dataset.array("counts")[:, y, x])

    @pytest.mark.parametrize(
        ("region", "error", "said"),
        [
            ("galactic;circle(4,0,1)", GeometryError, "not wholly inside"),
            ("galactic;circle(40,0,1)", GeometryError, "holds no pixel"),
            ("galactic;circle(0,0,0.01)", GeometryError, "holds no pixel"),
        ],
    )
    def test_regions_outside_are_refused(self, region, error, said):
        with pytest.raises(error, match=said):
            any_dataset("MapDataset", safe=1.0).to_spectrum_dataset(region)

    def test_masks_must_not_cut_through_the_region(self):
        with pytest.raises(UnsupportedError, match="only a part of the region"):
            any_dataset("MapDataset", safe=0.5).to_spectrum_dataset(REGION)

    def test_the_correction_needs_a_psf_and_a_circle(self):
        dataset = any_dataset("MapDataset", safe=1.0)
        with pytest.raises(GeometryError, match="no radius"):
            dataset.to_spectrum_dataset("galactic;box(0,0,1.2,1.2,0)", containment_correction=True)
        with pytest.raises(UnsupportedError, match="no psf"):
            dataset.with_arrays(psf=None, psf_exposure=None).to_spectrum_dataset(
                REGION, containment_correction=True
            )
