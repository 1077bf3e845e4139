"""The axis of a response: nodes, closed range, and three ways to the same interpolation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.errors import CorruptFileError
from gammaflow.irf import IrfAxis
from gammaflow.irf.axis import interpolate
from gammaflow.maps import MapAxis


def log_axis():
    return IrfAxis.from_edges(np.geomspace(0.1, 100, 7), "energy", "log")


def test_nodes_of_bins_are_the_scaled_midpoints():
    axis = log_axis()
    np.testing.assert_allclose(axis.nodes, np.sqrt(axis.edges[1:] * axis.edges[:-1]))
    offset = IrfAxis.from_edges([0, 1, 3], "offset", "lin")
    np.testing.assert_allclose(offset.nodes, [0.5, 2.0])


def test_equal_edges_mean_nodes_with_bins_that_reach_half_a_step_further():
    axis = IrfAxis("offset", [0, 0.5, 1, 2], [0, 0.5, 1, 2], "lin")
    assert axis.is_node
    np.testing.assert_allclose(axis.edges, [-0.25, 0.25, 0.75, 1.5, 2.5])


def test_edges_are_converted_before_anything_is_computed():
    edges = np.geomspace(0.1, 100, 7).astype(np.float32)
    axis = IrfAxis("energy", edges[:-1], edges[1:], "log")
    wide = edges.astype(np.float64)
    np.testing.assert_allclose(axis.nodes, np.sqrt(wide[1:] * wide[:-1]), rtol=1e-15)


def test_the_range_is_closed_at_both_ends():
    axis = log_axis()
    x = [
        axis.edges[0],
        axis.edges[-1],
        np.nextafter(axis.edges[0], 0),
        np.nextafter(axis.edges[-1], np.inf),
        np.nan,
    ]
    assert axis.contains(x).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    "axis",
    [
        log_axis(),
        IrfAxis.from_nodes([0, 0.4, 1, 2.5], "offset", "lin"),
        IrfAxis.from_edges(np.linspace(-3, 3, 13).astype(np.float32), "fov_lon", "lin"),
        IrfAxis.from_edges([0.0, 5.0], "offset", "lin"),
    ],
    ids=repr,
)
@given(position=st.lists(st.floats(-0.4, 1.4), min_size=1, max_size=20))
def test_cell_matrix_and_hats_are_the_same_interpolation(axis, position):
    lo, hi = axis.to_scale(axis.edges[[0, -1]])
    x = axis.from_scale(lo + np.array(position) * (hi - lo))
    dense = axis.matrix(x, zero_outside=False)
    np.testing.assert_allclose(axis.hats(x), dense.T, atol=1e-12)
    np.testing.assert_allclose(dense.sum(axis=1), 1.0, atol=1e-12)
    if axis.nbin > 1:
        # It reproduces what is linear in the scaled coordinate, also outside
        np.testing.assert_allclose(dense @ axis.to_scale(axis.nodes), axis.to_scale(x), atol=1e-10)
    np.testing.assert_array_equal(axis.matrix(x), np.where(axis.contains(x)[:, None], dense, 0.0))
    assert ((dense != 0).sum(axis=1) <= 2).all()


def test_values_that_are_not_finite_get_no_weight_and_no_error():
    axis = IrfAxis.from_edges(np.linspace(0, 6, 7), "offset", "lin")
    lower, _ = axis.cell([np.nan, np.inf, -np.inf])
    assert ((lower >= 0) & (lower < axis.nbin - 1)).all()
    np.testing.assert_array_equal(axis.matrix([np.nan, np.inf]), np.zeros((2, 6)))


def test_a_value_between_unevenly_rounded_nodes_finds_its_cell():
    """Nodes from float32 edges are only nearly equidistant: the cell must hold the value all the same."""
    edges = np.linspace(-6, 6, 37).astype(np.float32)
    axis = IrfAxis.from_edges(edges, "fov_lon", "lin")
    x = np.concatenate([np.nextafter(axis.nodes, -np.inf), axis.nodes, np.nextafter(axis.nodes, np.inf)])
    lower, weight = axis.cell(x)
    inner = (x >= axis.nodes[0]) & (x < axis.nodes[-1])
    assert (weight[inner] >= 0).all()
    assert (weight[inner] <= 1).all()
    np.testing.assert_array_equal(lower[inner], np.searchsorted(axis.nodes, x[inner], side="right") - 1)


def test_multilinear_interpolation_broadcasts_and_is_exact_for_a_product_of_lines():
    axes = (IrfAxis.from_nodes([0.0, 1, 2], "a", "lin"), IrfAxis.from_nodes([1.0, 10, 100], "b", "log"))
    table = (1 + axes[0].nodes)[:, None] * np.log(axes[1].nodes)[None, :]
    a, b = np.array([[0.3], [1.9], [2.6]]), np.array([2.0, 30.0])
    np.testing.assert_allclose(interpolate(axes, table, (a, b)), (1 + a) * np.log(b), rtol=1e-13)


def test_map_axes_can_be_used():
    axis = IrfAxis.from_map_axis(MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=4, name="energy_true"))
    assert axis == IrfAxis.from_edges(np.geomspace(0.1, 10, 5), "energy_true", "log")


@pytest.mark.parametrize(
    ("lo", "hi", "scale", "found"),
    [
        ([], [], "lin", "shape"),
        ([0, 1], [1], "lin", "shape"),
        ([0, np.nan], [1, 2], "lin", "not finite"),
        ([1, 0], [2, 1], "lin", "do not increase"),
        ([0, 1], [1, 2], "log", "not positive"),
        ([1, 2], [0.5, 3], "lin", "do not increase"),
    ],
)
def test_edges_that_mean_nothing_are_refused(lo, hi, scale, found):
    with pytest.raises(CorruptFileError, match=found):
        IrfAxis("offset", lo, hi, scale)
