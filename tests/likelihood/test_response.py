"""Responses at one place of a dataset, and the window that a source needs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.errors import DataError
from gammaflow.likelihood.response import (
    edisp_kernel,
    kernel_from_migration,
    nearest_pixel,
    overlap_fractions,
    psf_table,
)
from gammaflow.likelihood.transfer import PointSpread
from gammaflow.likelihood.window import source_reach
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.maps.frames import lonlat_to_vectors
from gammaflow.modeling import DiskSpatialModel, GaussianSpatialModel, PointSpatialModel

from .synthetic import energy_axes, make_dataset


def varied() -> MapDataset:
    """A PSF and an energy dispersion that differ from pixel to pixel; no exposure in the left half."""
    dataset = make_dataset(npix=81)
    shape = dataset.geometry.shapes["psf"]
    ny, nx = shape[-2:]
    rng = np.random.default_rng(1)
    exposure = np.ones((shape[0], ny, nx))
    exposure[:, :, : nx // 2] = 0.0
    return dataset.with_arrays(
        psf=rng.uniform(0.5, 1.5, shape),
        psf_exposure=exposure,
        edisp=rng.uniform(0, 1, dataset.geometry.shapes["edisp"]),
        edisp_exposure=exposure,
    )


def place(dataset: MapDataset, x: float, y: float) -> np.ndarray:
    """ICRS unit vector of a pixel position of the response grid."""
    return dataset.geometry.geom_irf.pix_to_vectors(x, y)


def test_the_psf_is_linear_between_pixels() -> None:
    dataset = varied()
    psf = np.asarray(dataset.psf, dtype=float)
    nx = psf.shape[-1]
    x, y = nx - 2.75, 1.25
    i, j = nx - 3, 1
    expected = (
        0.75 * 0.75 * psf[:, :, j, i] + 0.25 * 0.75 * psf[:, :, j, i + 1] + 0.75 * 0.25 * psf[:, :, j + 1, i]
        + 0.25 * 0.25 * psf[:, :, j + 1, i + 1]
    )  # fmt: skip
    np.testing.assert_allclose(psf_table(dataset, place(dataset, x, y)), expected, rtol=1e-6)


def test_pixels_without_exposure_are_left_out() -> None:
    dataset = varied()
    psf, edisp = (np.asarray(a, dtype=float) for a in (dataset.psf, dataset.edisp))
    nx = psf.shape[-1]
    first = nx // 2
    # between the last pixel without and the first with exposure: the one that has some
    np.testing.assert_allclose(
        psf_table(dataset, place(dataset, first - 0.3, 2.0)), psf[:, :, 2, first], rtol=1e-6
    )
    # far in the part without: the nearest that has some
    np.testing.assert_allclose(psf_table(dataset, place(dataset, 0.0, 1.0)), psf[:, :, 1, first], rtol=1e-6)
    np.testing.assert_array_equal(edisp_kernel(dataset, place(dataset, 0.0, 1.0)), edisp[:, :, 1, first])
    np.testing.assert_array_equal(
        edisp_kernel(dataset, place(dataset, nx - 1.4, 1.2)), edisp[:, :, 1, nx - 1]
    )


def test_no_exposure_anywhere_is_an_error() -> None:
    dataset = varied()
    dataset = dataset.with_arrays(psf_exposure=np.zeros(dataset.geometry.shapes["psf_exposure"]))
    with pytest.raises(DataError, match="no pixel has any exposure"):
        psf_table(dataset, place(dataset, 1.0, 1.0))


def test_a_place_outside_the_grid_takes_its_border() -> None:
    dataset = varied()
    psf = np.asarray(dataset.psf, dtype=float)
    ny, nx = psf.shape[-2:]
    np.testing.assert_allclose(
        psf_table(dataset, place(dataset, nx + 3.0, 1.0)), psf[:, :, 1, nx - 1], rtol=1e-6
    )
    geom = dataset.geometry.geom_irf
    everything = np.ones((ny, nx), dtype=bool)
    assert nearest_pixel(geom, -geom.center_vector, everything, "here")[0] in range(ny)


def test_without_energy_dispersion_bins_are_shared_by_overlap() -> None:
    dataset = make_dataset().with_arrays(edisp=None, edisp_exposure=None)
    kernel = edisp_kernel(dataset, lonlat_to_vectors(83.6, 22.0))
    energy, energy_true = energy_axes()
    np.testing.assert_array_equal(kernel, overlap_fractions(energy_true.edges, energy.edges))
    inside = (energy_true.edges[:-1] >= energy.edges[0]) & (energy_true.edges[1:] <= energy.edges[-1])
    np.testing.assert_allclose(kernel[inside].sum(axis=1), 1.0)
    np.testing.assert_allclose(
        kernel * np.diff(energy_true.edges)[:, None], (kernel * np.diff(energy_true.edges)[:, None]).clip(0)
    )


def test_a_kernel_from_migrations() -> None:
    """Against the integral of the density, bin by bin."""
    migra = np.linspace(0.2, 5.0, 97)
    middle = 0.5 * (migra[1:] + migra[:-1])
    true, reco = np.array([1.0, 3.0]), np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    density = np.exp(-0.5 * ((middle - 1.05) / 0.2) ** 2)[None] * np.array([[1.0], [7.0]])
    kernel = kernel_from_migration(density, migra, true, reco)
    fine = np.linspace(0.2, 5.0, 960001)
    values = np.interp(fine, np.repeat(migra, 2)[1:-1], np.repeat(density[0], 2))
    values /= values.sum()
    for k, energy in enumerate(true):
        expected = [
            values[(fine * energy >= lo) & (fine * energy < hi)].sum() for lo, hi in itertools.pairwise(reco)
        ]
        np.testing.assert_allclose(kernel[k], expected, atol=2e-4)


def test_a_migration_axis_in_a_dataset() -> None:
    energy, energy_true = energy_axes()
    migra = MapAxis.from_bounds(0.2, 5.0, 48, "migra", "", "lin")
    geom = WcsGeom.create((83.6, 22.0), 0.02, npix=41, axes=[energy])
    geometry = MapDatasetGeometry.create(geom, energy_true, migra_axis=migra)
    density = np.exp(-0.5 * ((migra.center - 1.0) / 0.15) ** 2)
    dataset = MapDataset.from_arrays(
        geometry,
        "one",
        edisp=np.broadcast_to(density[None, :, None, None], geometry.shapes["edisp"]),
        edisp_exposure=np.ones(geometry.shapes["edisp_exposure"]),
    )
    kernel = edisp_kernel(dataset, lonlat_to_vectors(83.6, 22.0))
    assert kernel.shape == (5, 4)
    inside = (energy_true.center > 1.2) & (energy_true.center < 8.0)
    np.testing.assert_allclose(kernel[inside].sum(axis=1), 1.0, atol=1e-2)


# --- windows ------------------------------------------------------------------------------------------------


def spread(sigma: float = 0.05) -> PointSpread:
    edges = np.linspace(0.0, 0.66, 133)
    centers = 0.5 * (edges[1:] + edges[:-1])
    return PointSpread.from_table(edges, centers, np.exp(-0.5 * (centers / sigma) ** 2)[None], 100.0)


@pytest.mark.parametrize("containment", [0.99, 0.9999])
def test_the_reach_of_gaussians_adds_in_quadrature(containment: float) -> None:
    model = GaussianSpatialModel(sigma="0.12 deg")
    wide = np.hypot(0.05, 0.12) * np.sqrt(-2 * np.log(1 - containment))
    found = source_reach(spread(), model, np.ones(1), containment)
    assert wide <= found + 1e-3
    assert found <= wide + 0.04
    larger = source_reach(spread(), model, np.ones(1), containment, size_factor=1.3)
    assert larger == pytest.approx(np.hypot(0.05, 0.156) * np.sqrt(-2 * np.log(1 - containment)), abs=0.04)


def test_the_reach_of_a_point_and_of_a_disk() -> None:
    point = source_reach(spread(), PointSpatialModel(), np.ones(1), 0.9999)
    assert point == pytest.approx(0.05 * np.sqrt(-2 * np.log(1e-4)), abs=0.01)
    disk = source_reach(spread(), DiskSpatialModel(r_0="0.5 deg"), np.ones(1), 0.9999)
    assert 0.5 + 0.1 < disk < 0.5 + point + 0.02
    ellipse = source_reach(
        spread(), DiskSpatialModel(r_0="0.5 deg", e=0.95, phi="70 deg"), np.ones(1), 0.9999
    )
    assert ellipse > 0.5 + 0.05
    huge = source_reach(spread(), DiskSpatialModel(r_0="3 deg"), np.ones(1), 0.9999)
    assert huge == pytest.approx(3.0 * 1.1 + point, abs=0.1)


def test_energies_without_counts_do_not_widen_the_window() -> None:
    edges = np.linspace(0.0, 0.66, 133)
    centers = 0.5 * (edges[1:] + edges[:-1])
    table = np.exp(-0.5 * (centers / np.array([[0.05], [0.2]])) ** 2)
    both = PointSpread.from_table(edges, centers, table, 100.0)
    narrow = source_reach(both, PointSpatialModel(), np.array([1.0, 0.0]), 0.999)
    wide = source_reach(both, PointSpatialModel(), np.array([1.0, 1.0]), 0.999)
    assert narrow < 0.25 < 0.5 < wide
