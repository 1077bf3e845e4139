"""Point spread function and energy dispersion on the response grid, against a plain evaluation."""

import numpy as np
import pytest

from gammaflow.irf import PSF3D, EnergyDependentMultiGaussPSF, EnergyDispersion2D, IrfAxis, PSFKing
from gammaflow.irf.axis import interpolate
from gammaflow.makers.energy_dispersion_map import make_edisp_kernel, make_edisp_migra
from gammaflow.makers.psf_map import make_psf
from gammaflow.maps import MapAxis
from tests.makers import small

AXIS_TRUE = MapAxis.from_energy_bounds("0.02 TeV", "300 TeV", nbin=9, name="energy_true")
AXIS = MapAxis.from_energy_bounds("0.05 TeV", "200 TeV", nbin=8)
RAD_AXIS = MapAxis.from_bounds(0, 0.66, 66, "rad", "deg", "lin")
OFFSETS = np.array([0.0, 0.2, 0.5, 1.1, 2.5, 3.4, 3.6, 3.99, 4.0, 4.2])
RING = 2 * np.pi * RAD_AXIS.center * RAD_AXIS.bin_width * (np.pi / 180) ** 2


def gaussians(narrow=False):
    rng = np.random.default_rng(5)
    shape = (small.TRUE.nbin, small.OFFSET.nbin)
    scale = 0.02 if narrow else 1.0
    tables = {
        "sigma_1": rng.uniform(0.02, 0.06, shape) * scale,
        "sigma_2": rng.uniform(0.05, 0.1, shape),
        "sigma_3": rng.uniform(0.1, 0.2, shape),
        "scale": rng.uniform(0.5, 1, shape),
        "ampl_2": np.where(rng.uniform(size=shape) < 0.5, 0, 0.0 if narrow else 0.4),
        "ampl_3": rng.uniform(0, 0.0 if narrow else 0.1, shape),
    }
    return EnergyDependentMultiGaussPSF([small.TRUE, small.OFFSET], tables)


def king():
    shape = (small.TRUE.nbin, small.OFFSET.nbin)
    rng = np.random.default_rng(6)
    tables = {"gamma": rng.uniform(1.3, 3, shape), "sigma": rng.uniform(0.03, 0.1, shape)}
    return PSFKing([small.TRUE, small.OFFSET], tables)


@pytest.mark.parametrize("psf", [small.psf(), gaussians(), king()], ids=lambda psf: psf.tag)
def test_psf_is_the_response_normalised_at_each_pixel(psf):
    values = make_psf(psf, AXIS_TRUE, RAD_AXIS, OFFSETS)
    energy, rad = AXIS_TRUE.center[:, None, None], RAD_AXIS.center[:, None]
    plain = psf.evaluate(energy_true=energy, offset=OFFSETS, rad=rad)
    norm = (RING[:, None] * plain).sum(axis=1, keepdims=True)
    expected = np.divide(plain, norm, out=np.zeros_like(plain), where=norm > 0)
    np.testing.assert_allclose(values, expected, atol=1e-6 * expected.max(), rtol=1e-5)
    integral = (RING[:, None] * values.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(integral[norm[:, 0] > 0], 1.0, rtol=1e-6)
    assert np.isfinite(values).all()


def test_a_narrow_gaussian_does_not_vanish():
    """Narrower than the first radius by far: float32 would underflow to nothing."""
    values = make_psf(gaussians(narrow=True), AXIS_TRUE, RAD_AXIS, np.array([0.5, 1.0]))
    np.testing.assert_allclose((RING[:, None] * values.astype(np.float64)).sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("psf", [small.psf(), gaussians(), king()], ids=lambda psf: psf.tag)
def test_a_psf_with_nan_is_zero_where_it_touches_them_and_the_same_elsewhere(psf):
    good = make_psf(psf, AXIS_TRUE, RAD_AXIS, OFFSETS)
    table = psf.data if isinstance(psf, PSF3D) else next(iter(psf.tables.values()))
    node = int(small.TRUE.cell(AXIS_TRUE.center[4])[0])
    kept = table[node, 2].copy()
    table[node, 2] = np.nan
    psf._prepared.clear()
    values = make_psf(psf, AXIS_TRUE, RAD_AXIS, OFFSETS)
    table[node, 2] = kept
    psf._prepared.clear()
    lower, _ = small.TRUE.cell(AXIS_TRUE.center)
    cell, _ = small.OFFSET.cell(OFFSETS)
    touched = np.isin(lower, (node - 1, node))[:, None] & np.isin(cell, (1, 2))
    assert touched.any()
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values.transpose(0, 2, 1)[touched], 0.0)
    untouched = values.transpose(0, 2, 1)[~touched]
    np.testing.assert_allclose(untouched, good.transpose(0, 2, 1)[~touched], atol=2e-6 * good.max())


def over_offset(edisp, energy, theta):
    """Density in each migration bin, one after the other; 0 where not finite or outside in offset."""
    true, migra, offset = edisp.axes
    points = (np.float64(energy), np.float64(theta))
    density = [interpolate((true, offset), edisp.data[:, m], points) for m in range(migra.nbin)]
    return np.maximum(np.nan_to_num(density), 0.0) * offset.contains(theta)


def kernel_by_hand(edisp, energy_true, edges, offset):
    """Evaluate, normalise and cumulate one pixel and one energy after the other."""
    migra = edisp.axis("migra")
    kernel = np.zeros((energy_true.size, edges.size - 1, offset.size))
    for k, energy in enumerate(energy_true):
        for p, theta in enumerate(offset):
            density = over_offset(edisp, energy, theta)
            norm = (density * migra.bin_width).sum()
            if norm > 0:
                steps = np.concatenate(([0.0], np.cumsum(density * migra.bin_width))) / norm
                kernel[k, :, p] = np.diff(np.interp(edges / energy, migra.edges, steps))
    return np.where(kernel >= 1e-8, kernel, 0.0)


def edisp_with(change):
    edisp = small.edisp()
    change(edisp.data)
    return edisp


def negative(data):
    data[::3, ::5, ::2] *= -0.3


@pytest.mark.parametrize(
    "edisp",
    [small.edisp(), edisp_with(negative), edisp_with(lambda data: data[:3].fill(0))],
    ids=["plain", "negative entries", "empty energies"],
)
def test_kernel_is_the_response_normalised_and_cumulated_at_each_pixel(edisp):
    kernel = make_edisp_kernel(edisp, AXIS_TRUE, AXIS, OFFSETS)
    expected = kernel_by_hand(edisp, AXIS_TRUE.center, AXIS.edges, OFFSETS)
    np.testing.assert_allclose(kernel, expected, atol=1e-7)
    assert (kernel.sum(axis=1) <= 1 + 1e-6).all()
    # Beyond the last edge of the offset axis there is no response
    assert not kernel[:, :, -1].any()


def test_true_energies_outside_of_the_response_are_extrapolated():
    assert not small.TRUE.contains(AXIS_TRUE.center[0])
    assert make_edisp_kernel(small.edisp(), AXIS_TRUE, AXIS, OFFSETS)[0].any()


def test_a_dispersion_with_nan_is_as_if_it_were_zero_where_it_touches_them():
    edisp = edisp_with(lambda data: data[12:14, 20:23, 2].fill(np.nan))
    kernel = make_edisp_kernel(edisp, AXIS_TRUE, AXIS, OFFSETS)
    np.testing.assert_allclose(
        kernel, kernel_by_hand(edisp, AXIS_TRUE.center, AXIS.edges, OFFSETS), atol=1e-7
    )
    good = make_edisp_kernel(small.edisp(), AXIS_TRUE, AXIS, OFFSETS)
    assert np.isfinite(kernel).all()
    assert (kernel != good).any()
    assert (kernel == good).any()


def test_density_over_a_migration_axis_is_normalised_at_each_pixel():
    axis = MapAxis.from_bounds(0.2, 5, 48, "migra")
    edisp = edisp_with(negative)
    values = make_edisp_migra(edisp, AXIS_TRUE, axis, OFFSETS)
    plain = edisp.evaluate(
        energy_true=AXIS_TRUE.center[:, None, None], migra=axis.center[:, None], offset=OFFSETS
    )
    norm = (plain * axis.bin_width[:, None]).sum(axis=1, keepdims=True)
    expected = np.divide(plain, norm, out=np.zeros_like(plain), where=norm > 0)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_responses_of_one_offset_are_the_same_everywhere():
    one = IrfAxis.from_edges([0.0, 4.0], "offset", "lin")
    edisp = EnergyDispersion2D([small.TRUE, small.MIGRA, one], small.edisp().data[:, :, :1])
    kernel = make_edisp_kernel(edisp, AXIS_TRUE, AXIS, OFFSETS[:-1])
    np.testing.assert_array_equal(kernel, np.broadcast_to(kernel[:, :, :1], kernel.shape))
    psf = PSF3D([small.TRUE, one, small.RAD], small.psf().data[:, :1])
    values = make_psf(psf, AXIS_TRUE, RAD_AXIS, OFFSETS[:-1])
    np.testing.assert_array_equal(values, np.broadcast_to(values[:, :, :1], values.shape))
