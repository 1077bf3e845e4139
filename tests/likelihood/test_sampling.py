"""Coefficients of sampled models, against sums written out and closed transforms; the Hankel transforms of PSFs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import j0

from gammaflow.errors import ModelError
from gammaflow.likelihood.bessel import j0_grid
from gammaflow.likelihood.hankel import HankelRule
from gammaflow.likelihood.lattice import Lattice
from gammaflow.likelihood.sampling import MapSpectrum, sample
from gammaflow.maps import WcsGeom
from gammaflow.modeling import GaussianSpatialModel, Parameter, SpatialModel

PIXEL = 0.05


def window(size: int, alias: int = 1) -> Lattice:
    geom = WcsGeom.create((0.0, 0.0), PIXEL, npix=81, frame="galactic")
    return Lattice.around(geom, "galactic", 0.02, -0.013, 12, size=size, alias=alias)


@pytest.mark.parametrize("size", [30, 31])
@pytest.mark.parametrize("alias", [1, 2])
@pytest.mark.parametrize("oversampling", [1, 2, 3, 8])
def test_coefficients_are_sums_over_the_samples(size: int, alias: int, oversampling: int) -> None:
    """Also where only the part below the alias orders is kept; nothing from the samples' own limit on."""
    lattice = window(size, alias)
    rng = np.random.default_rng(4)
    fine = oversampling * size
    maps, weight = rng.uniform(size=(2, fine, fine)), rng.uniform(size=(fine, fine))
    frequencies = lattice.frequencies()
    found = MapSpectrum.of(lattice, oversampling, maps, weight).at(frequencies)
    at = (np.arange(fine) + 0.5) / oversampling - 0.5  # pixels from the middle of the first one
    some = rng.choice(frequencies.count, 300, replace=False)
    nu = frequencies.nu[:, some]
    rows = np.exp(-2j * np.pi * np.outer(nu[1], at))
    columns = np.exp(-2j * np.pi * np.outer(nu[0], at))
    expected = np.einsum("qy,kyx,qx->kq", rows, maps * weight, columns)
    expected[:, (np.abs(nu) >= 0.5 * oversampling).any(axis=0)] = 0.0
    np.testing.assert_allclose(found[:, some], expected, atol=1e-10 * fine**2)


@pytest.mark.parametrize("size", [30, 31])
@pytest.mark.parametrize("oversampling", [2, 4])
def test_a_sampled_gaussian_has_the_closed_transform(size: int, oversampling: int) -> None:
    model = GaussianSpatialModel(sigma="0.12 deg", lon_0="0.02 deg", lat_0="-0.013 deg", frame="galactic")
    lattice = window(size)
    listed = lattice.frequencies(12.0)
    edges = np.array([1.0, 2.0])
    sampled, *moments = sample(model, lattice, edges, oversampling, moments=True)
    phase = listed.phase(lattice.position(0.02, -0.013).pixel)
    exact = model.transform(*listed.u, (), 0).value
    np.testing.assert_allclose(sampled.value.at(listed)[0], exact * phase, atol=2e-5)
    # the transform of (offset x M) is (i / 2 pi) dMhat/du; for a Gaussian - 4 pi^2 sigma^2 u Mhat
    for axis, moment in enumerate(moments):
        slope = -2j * np.pi * 0.12**2 * listed.u[axis] * exact
        np.testing.assert_allclose(moment.value.at(listed)[0], slope * phase, atol=2e-5 * 0.12)


class Steep(SpatialModel):
    """A user's model that depends on energy."""

    tag = ("SteepForTests",)
    is_energy_dependent = True
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg")

    @staticmethod
    def evaluate(lon, lat, energy, lon_0, lat_0):  # type: ignore[no-untyped-def]  # as a user writes it
        return energy**-2.0 * np.exp(-0.5 * (lon**2 + lat**2) / 0.1**2)


def test_a_model_that_depends_on_energy_is_asked_at_the_centres_of_bins() -> None:
    lattice, edges = window(30), np.array([1.0, 4.0, 9.0])
    found = sample(Steep(frame="galactic"), lattice, edges, 1)[0].value
    total = found.at(lattice.frequencies(1e-6))[:, 0]
    assert total[0] / total[1] == pytest.approx((2.0 / 6.0) ** -2.0)


def test_values_that_are_not_finite_are_named() -> None:
    class Broken(GaussianSpatialModel):
        def values(self, lon, lat, energy=None):  # type: ignore[no-untyped-def]  # as a user writes it
            return np.where(np.asarray(lat) > 0.3, np.nan, 1.0)

    with pytest.raises(ModelError, match="values are not finite, one at lon"):
        sample(Broken(frame="galactic"), window(30), np.array([1.0, 2.0]), 1)


# --- Hankel transforms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("r", "step", "count"),
    [
        (np.linspace(0.001, 0.7, 130), 0.13, 900),
        (np.sort(np.random.default_rng(1).uniform(0, 10, 70)), 0.008, 2000),
        (np.array([1e-6, 1e-5]), 0.1, 50),
    ],
)
def test_bessel_functions_on_a_grid(r: np.ndarray, step: float, count: int) -> None:
    expected = j0(2 * np.pi * step * np.outer(r, np.arange(count)))
    np.testing.assert_allclose(j0_grid(r, step, count), expected, atol=1e-9)


@pytest.mark.parametrize("interpolation", ["spline", "linear"])
def test_a_long_axis_taken_apart_is_the_whole(interpolation: str) -> None:
    """A core of 0.1 deg and tails over ten, on an axis that is finer inside, as Fermi-LAT's."""
    edges = 10.0 * np.linspace(0, 1, 201) ** 2
    centers = 0.5 * (edges[1:] + edges[:-1])
    rule = HankelRule(tuple(edges), tuple(centers), 40.0, interpolation)
    table = np.array([(1 + (centers / s) ** 2 / 4) ** -g for s, g in ((0.05, 2.0), (0.02, 2.5), (0.2, 1.6))])
    density, found = rule.functions(table)
    assert len(rule.r) * len(rule.q) > 2_000_000
    rows = np.arange(0, len(rule.q), 7)
    expected = (density * rule.ring) @ j0(2 * np.pi * np.outer(rule.r, rule.q[rows]))
    np.testing.assert_allclose(found[:, rows], expected, atol=1e-5)
    np.testing.assert_allclose(density @ rule.ring, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found[:, 0], 1.0, atol=1e-6)


def test_a_gaussian_table_has_a_gaussian_transform() -> None:
    edges = np.linspace(0.0, 0.6, 121)
    centers = 0.5 * (edges[1:] + edges[:-1])
    rule = HankelRule(tuple(edges), tuple(centers), 20.0, "spline")
    table = np.stack([np.exp(-0.5 * (centers / 0.07) ** 2), 0 * centers])
    _, found = rule.functions(table)
    np.testing.assert_allclose(found[0], np.exp(-2 * (np.pi * 0.07 * rule.q) ** 2), atol=1e-6)
    assert not found[1].any()
