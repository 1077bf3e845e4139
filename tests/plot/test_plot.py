"""Figures: what they draw, where, and with which labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr

from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.errors import DataError, GeometryError
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.plot import (
    excess_image,
    plot_dataset,
    plot_map,
    plot_quantity,
    safe_sum,
    significance_image,
    smooth,
)
from gammaflow.plot.sky import make_norm

ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 3)
TRUE = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", 5, name="energy_true")


def make_geom(frame: str = "galactic", proj: str = "CAR") -> WcsGeom:
    return WcsGeom.create((0.0, 0.0), binsz=0.1, width=(4.0, 3.0), frame=frame, proj=proj, axes=[ENERGY])


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    """Background of 1 count a bin, a source of 90 at (lon, lat) = (-1, 0.5) deg; the rim is not safe."""
    geometry = MapDatasetGeometry.create(make_geom(), TRUE)
    shape = geometry.shapes["counts"]
    counts = np.ones(shape, dtype=np.int32)
    x, y = geometry.geom.sky_to_pix(-1.0, 0.5)
    counts[:, int(np.rint(y)), int(np.rint(x))] += 30
    safe = np.ones(shape, dtype=bool)
    safe[:, :, :5] = False
    safe[0, :, 5:10] = False
    return MapDataset.from_arrays(
        geometry,
        "stacked",
        counts=counts,
        background=np.ones(shape),
        mask_safe=safe,
        exposure=np.full(geometry.shapes["exposure"], 1e10),
    )


def draw(ax) -> None:
    """Have matplotlib lay out and draw everything, as saving does."""
    ax.figure.savefig(io.BytesIO(), format="png", dpi=50)


def test_longitude_increases_to_the_left() -> None:
    ax = plot_map(np.zeros((30, 40)), make_geom())
    draw(ax)
    left, right = (ax.wcs.wcs_pix2world([[x, 15.0]], 0)[0, 0] for x in (0.0, 39.0))
    assert left == pytest.approx(1.95)
    assert right == pytest.approx(358.05)
    low, high = ax.get_xlim()
    assert low < high  # so that pixel 0, the largest longitude, is on the left
    low, high = ax.get_ylim()
    assert low < high


@pytest.mark.parametrize(
    ("frame", "proj", "labels"),
    [
        ("galactic", "CAR", ("Galactic longitude", "Galactic latitude")),
        ("icrs", "TAN", ("Right ascension (ICRS)", "Declination (ICRS)")),
    ],
)
def test_axes_are_named_after_the_frame(frame: str, proj: str, labels: tuple[str, str]) -> None:
    ax = plot_map(np.ones((30, 40)), make_geom(frame, proj), title="A title")
    draw(ax)
    assert tuple(coordinate.get_axislabel() for coordinate in ax.coords) == labels
    assert ax.get_title() == "A title"


def test_a_map_of_a_dataset_knows_its_place_its_name_and_its_units(dataset: MapDataset) -> None:
    ax = plot_map(dataset.exposure)
    draw(ax)
    colour_bar = ax.figure.axes[-1]
    assert colour_bar.get_ylabel() == "exposure [m2 s]"
    np.testing.assert_allclose(ax.images[0].get_array(), 5e10)


def test_a_cube_is_summed_over_energy(dataset: MapDataset) -> None:
    ax = plot_map(dataset.counts)
    assert ax.images[0].get_array().sum() == dataset.counts.values.sum()


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"\(7, 8\).*\(30, 40\)"):
        plot_map(np.zeros((7, 8)), make_geom())


@pytest.mark.parametrize("image", [np.zeros((30, 40)), xr.DataArray(np.zeros((30, 40)))])
def test_pixels_without_a_place_are_refused(image: object) -> None:
    with pytest.raises(GeometryError, match="where its pixels are"):
        plot_map(image)


@pytest.mark.parametrize(
    ("stretch", "values", "limits"),
    [
        ("linear", [2.0, 8.0], (2.0, 8.0)),
        ("sqrt", [2.0, 8.0], (0.0, 8.0)),
        ("sqrt", [0.0, 0.0], (0.0, 1.0)),  # an empty map
        ("sqrt", [], (0.0, 1.0)),
        ("log", [0.0, 0.5, 8.0], (0.5, 8.0)),
        ("asinh", [-1.0, np.nan, 8.0], (-1.0, 8.0)),
        ("zero-centred", [-2.0, 8.0], (-2.0, 8.0)),
        ("zero-centred", [1.0, 8.0], (-1e-6, 8.0)),
    ],
)
def test_limits_of_the_colours(stretch: str, values: list[float], limits: tuple[float, float]) -> None:
    norm = make_norm(np.array(values), stretch, None, None)
    assert (norm.vmin, norm.vmax) == limits


def test_an_unknown_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="is not one of sqrt"):
        make_norm(np.ones(3), "sqare", None, None)


def test_the_colour_bar_tells_of_values_beyond_its_ends() -> None:
    image = np.linspace(-1.0, 9.0, 1200).reshape(30, 40)
    ends = [(None, None), (0.0, None), (None, 5.0), (0.0, 5.0)]
    axes = [plot_map(image, make_geom(), stretch="linear", vmin=low, vmax=high) for low, high in ends]
    assert [ax.images[0].colorbar.extend for ax in axes] == ["neither", "min", "max", "both"]


def test_sums_leave_out_what_is_not_safe(dataset: MapDataset) -> None:
    counts = safe_sum(dataset, dataset.counts)
    assert np.isnan(counts[:, :5]).all()
    np.testing.assert_array_equal(counts[:, 5:9], 2.0)  # one of three energies is not safe
    assert np.nanmax(counts) == 93.0


def test_excess_is_counts_less_background(dataset: MapDataset) -> None:
    excess = excess_image(dataset)
    assert np.nansum(excess) == 90.0
    assert np.isnan(excess[:, :5]).all()


def test_smoothing_keeps_the_sum_and_what_is_missing(dataset: MapDataset) -> None:
    excess = excess_image(dataset)
    smoothed = smooth(excess, dataset.geom, 0.15)
    assert np.nansum(smoothed) == pytest.approx(90.0, rel=1e-3)
    assert np.nanmax(smoothed) < 30.0
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(excess))


def test_significance_is_the_cash_statistic_of_the_disc(dataset: MapDataset) -> None:
    significance = significance_image(dataset, radius=0.15)  # nine pixels of three energies
    x, y = (int(np.rint(p)) for p in dataset.geom.sky_to_pix(-1.0, 0.5))
    n, b = 27.0 + 90.0, 27.0
    assert significance[y, x] == pytest.approx(np.sqrt(2 * (n * np.log(n / b) - n + b)), rel=1e-6)
    assert significance[25, 35] == pytest.approx(0.0, abs=1e-5)
    assert np.isnan(significance[:, :5]).all()


def test_every_quantity_of_a_dataset_is_one_map(dataset: MapDataset) -> None:
    titles = {}
    for quantity in ("counts", "background", "exposure", "excess", "significance"):
        ax = plot_quantity(dataset, quantity)
        draw(ax)
        titles[quantity] = ax.get_title()
    assert titles["counts"] == "Counts"
    assert titles["exposure"].startswith("Exposure, true energy 0.5")
    assert titles["excess"] == "Excess, smoothed with 0.06 deg"
    with pytest.raises(ValueError, match="is not one of counts"):
        plot_quantity(dataset, "count")


def test_a_dataset_at_a_glance(dataset: MapDataset) -> None:
    figure = plot_dataset(dataset)
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert len(titles) == 6
    spectrum = next(ax for ax in figure.axes if ax.get_title() == "Whole map, safe energies")
    assert spectrum.get_xlabel() == "Energy [TeV]"


def test_an_empty_dataset_can_be_drawn() -> None:
    """No exposure, no counts, nothing safe: a stack of nothing still has a figure."""
    empty = MapDataset.create(make_geom(), energy_axis_true=TRUE, name="empty")
    plot_dataset(empty).savefig(io.BytesIO(), format="png", dpi=40)


def test_a_dataset_without_background_says_so(dataset: MapDataset) -> None:
    with pytest.raises(DataError, match="dataset stacked: it has no background"):
        plot_quantity(dataset.with_arrays(background=None), "excess")
