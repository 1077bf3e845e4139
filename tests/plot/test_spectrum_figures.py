"""Figures of spectra, flux points and ON/OFF maps: what is drawn, and with which numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest

from gammaflow.datasets import FluxPointsDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom
from gammaflow.modeling import Models, PowerLawSpectralModel, SkyModel
from gammaflow.plot import plot_dataset, plot_flux_points, plot_residuals, plot_spectrum, significance_per_bin
from gammaflow.plot.image import excess_image, significance_image
from gammaflow.stats import CashCountsStatistic, WStatCountsStatistic

ENERGY = MapAxis.from_energy_bounds("1 TeV", "100 TeV", 4)
TRUE = MapAxis.from_energy_bounds("0.8 TeV", "120 TeV", 6, name="energy_true")
COUNTS, OFF = np.array([40, 12, 3, 0]), np.array([60, 30, 0, 2])
ACCEPTANCE_OFF = np.array([5.0, 5.0, 5.0, 0.0])


def on_off() -> SpectrumDatasetOnOff:
    """Spectrum whose last bin was not measured beside the source, and whose third is not safe."""
    empty = SpectrumDatasetOnOff.create(
        RegionGeom.create("icrs;circle(83.63, 22.01, 0.1)", axes=[ENERGY]), TRUE
    )
    return empty.with_arrays(
        counts=COUNTS,
        counts_off=OFF,
        acceptance=np.ones(4),
        acceptance_off=ACCEPTANCE_OFF,
        mask_safe=np.array([True, True, False, True]),
    )


def modelled() -> SpectrumDataset:
    empty = SpectrumDataset.create(RegionGeom.create("icrs;circle(83.63, 22.01, 0.1)", axes=[ENERGY]), TRUE)
    return empty.with_arrays(
        counts=COUNTS, background=np.array([20.0, 12.0, 1.0, 0.0]), mask_safe=np.ones(4, dtype=bool)
    )


def points() -> FluxPointsDataset:
    return FluxPointsDataset.from_arrays(
        "points",
        energy=[1.0, 3.0, 10.0],
        dnde=[3e-11, 2e-12, np.nan],
        dnde_err=[3e-12, 4e-13, np.nan],
        dnde_ul=[np.nan, np.nan, 1e-13],
        is_ul=[False, False, True],
    )


def crab() -> Models:
    return Models(
        [SkyModel(spectral_model=PowerLawSpectralModel(amplitude="3e-11 cm-2 s-1 TeV-1"), name="crab")]
    )


def saved(figure) -> list:
    """The axes of a figure once everything is laid out and drawn."""
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    return figure.axes


def test_significance_per_bin_is_that_of_the_dataset_s_statistic() -> None:
    found = significance_per_bin(on_off())
    np.testing.assert_allclose(found[:3], WStatCountsStatistic(COUNTS, OFF, 0.2).sqrt_ts[:3])
    assert np.isnan(found[3])  # not measured
    found = significance_per_bin(modelled())
    np.testing.assert_allclose(found[:3], CashCountsStatistic(COUNTS[:3], [20.0, 12.0, 1.0]).sqrt_ts)
    assert np.isnan(found[3])  # nothing expected


@pytest.mark.parametrize("make", [on_off, modelled])
def test_a_spectrum_at_a_glance(make) -> None:
    dataset = make()
    upper, lower = saved(plot_dataset(dataset))
    assert upper.get_title() == dataset.name
    assert "background" in upper.get_legend_handles_labels()[1]
    assert lower.get_ylabel() == "excess [σ]"
    low, high = upper.get_ylim()
    assert low == 0.0
    assert high > COUNTS.max()


def test_bins_that_take_no_part_are_told_apart() -> None:
    labels = saved(plot_spectrum(on_off()))[0].get_legend_handles_labels()[1]
    assert {"counts", "counts, not used"} <= set(labels)
    labels = saved(plot_spectrum(modelled()))[0].get_legend_handles_labels()[1]
    assert "counts, not used" not in labels


def test_flux_points_with_a_model_show_what_it_leaves() -> None:
    upper, lower = saved(plot_flux_points(points(), crab()))
    assert "prediction" in upper.get_legend_handles_labels()[1]
    assert "upper limits" in upper.get_legend_handles_labels()[1]
    (_, pulls) = lower.lines[0].get_data()
    np.testing.assert_allclose(pulls, [0.0, (2e-12 - 3e-11 / 9) / 4e-13], atol=1e-9)


def test_residuals_of_any_kind_of_dataset() -> None:
    axes = saved(plot_residuals(points(), crab(), title="After"))
    assert axes[0].get_title() == "After: points"


@pytest.fixture
def ring() -> MapDatasetOnOff:
    """1 count a pixel measured by 10 OFF counts, and 30 more in one pixel."""
    geom = WcsGeom.create((0.0, 0.0), binsz=0.1, width=(3.0, 3.0), frame="icrs", axes=[ENERGY])
    shape = geom.data_shape
    counts = np.ones(shape, dtype=np.int32)
    counts[:, 15, 15] += 30
    return MapDatasetOnOff.create(geom, energy_axis_true=TRUE).with_arrays(
        counts=counts,
        counts_off=np.full(shape, 10),
        acceptance=np.ones(shape),
        acceptance_off=np.full(shape, 10.0),
        mask_safe=np.ones(shape, dtype=bool),
    )


def test_the_background_of_on_off_maps_is_the_measured_one(ring: MapDatasetOnOff) -> None:
    """Not what the best fit without any source would make of ON and OFF counts together."""
    excess = excess_image(ring)
    assert excess[15, 15] == pytest.approx(120.0)
    assert np.abs(np.delete(excess.ravel(), 15 * 30 + 15)).max() < 1e-6


def test_significance_of_on_off_maps_is_that_of_li_and_ma(ring: MapDatasetOnOff) -> None:
    found = significance_image(ring, radius=0.15)  # nine pixels of four energies
    alpha = 36.0 / 40.0
    assert found[15, 15] == pytest.approx(float(WStatCountsStatistic(156, 40, alpha).sqrt_ts), rel=1e-6)
    assert found[3, 3] == pytest.approx(0.0, abs=1e-5)
    again = significance_image(ring, radius=0.15, signal=np.full(ring.geometry.shapes["counts"], 0.5))
    assert again[15, 15] == pytest.approx(float(WStatCountsStatistic(156, 40, alpha, 18.0).sqrt_ts), rel=1e-6)
