"""Binned axes: edges, centres, look-up, equality."""

import json
import pickle

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.errors import GeometryError, UnitError
from gammaflow.maps import MapAxis
from tests.maps.reference import load_reference


@pytest.mark.parametrize("case", load_reference()["axes"], ids=lambda case: str(case["arguments"]))
def test_energy_axis_as_gammapy(case):
    low, high, nbin, per_decade = case["arguments"]
    axis = MapAxis.from_energy_bounds(low, high, nbin, per_decade=per_decade)
    np.testing.assert_allclose(axis.edges, case["edges"], rtol=1e-14)
    np.testing.assert_allclose(axis.center, case["center"], rtol=1e-14)
    assert axis.coord_to_idx(case["values"]).tolist() == case["index"]
    np.testing.assert_allclose(axis.coord_to_pix(case["values"]), case["pixel"], atol=1e-11)
    masks = [axis.energy_mask(*bounds).astype(int).tolist() for bounds in load_reference()["ranges"]]
    assert masks == case["energy_mask"]


@pytest.mark.parametrize(
    ("low", "high"),
    [("0.1 TeV", "10 TeV"), ("100 GeV", "10 TeV"), (100 * u.GeV, 1e4 * u.GeV), (0.1 * u.TeV, "1e13 eV")],
)
def test_energies_are_kept_in_tev(low, high):
    axis = MapAxis.from_energy_bounds(low, high, 4)
    assert axis.unit == "TeV"
    assert axis == MapAxis.from_energy_bounds(0.1, 10, 4, unit="TeV")


def test_angles_are_kept_in_deg():
    axis = MapAxis.from_bounds("0 arcmin", "30 arcmin", 3, "rad")
    assert axis.unit == "deg"
    np.testing.assert_allclose(axis.edges, [0, 1 / 6, 1 / 3, 0.5])


@pytest.mark.parametrize(
    ("interp", "center"), [("lin", [1.5, 3.0]), ("log", [2**0.5, 8**0.5]), ("sqrt", [1.45710678, 2.91421356])]
)
def test_centre_is_midway_in_the_scale(interp, center):
    axis = MapAxis.from_edges([1.0, 2.0, 4.0], "migra", interp=interp)
    np.testing.assert_allclose(axis.center, center)
    np.testing.assert_allclose(axis.coord_to_pix(axis.center), [0, 1], atol=1e-12)
    np.testing.assert_allclose(axis.bin_width, [1, 2])


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [
        (None, None, [1, 1, 1, 1]),
        (1.0, None, [0, 0, 1, 1]),
        (np.nextafter(1.0, 2.0), None, [0, 0, 0, 1]),
        (None, 11.0, [1, 1, 1, 0]),
        (
            None,
            10.0,
            [1, 1, 0, 0],
        ),  # as Gammapy: the edge comes back from its logarithm as 10.000000000000002
        (float("nan"), 11.0, [1, 1, 1, 0]),
        ("500 GeV", 50 * u.TeV, [0, 0, 1, 0]),
        (200.0, None, [0, 0, 0, 0]),
    ],
)
def test_energy_mask_keeps_bins_wholly_inside(low, high, kept):
    axis = MapAxis.from_energy_edges([0.01, 0.1, 1, 10, 100] * u.TeV)
    assert axis.energy_mask(low, high).astype(int).tolist() == kept


def test_last_edge_and_nan_are_in_no_bin():
    axis = MapAxis.from_edges([0.0, 1.0, 2.0], "rad", "deg")
    assert axis.coord_to_idx([0.0, 1.0, 2.0, -1e-9, np.nan, np.inf]).tolist() == [0, 1, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: MapAxis.from_energy_bounds(1, 10, 3), UnitError, "not an energy"),
        (lambda: MapAxis.from_energy_bounds("1 deg", "10 deg", 3), UnitError, "'deg' is not an energy"),
        (lambda: MapAxis.from_energy_bounds("1 Tev", "10 TeV", 3), UnitError, "cannot read '1 Tev'"),
        (lambda: MapAxis.from_energy_bounds("10 TeV", "1 TeV", 3), GeometryError, "edges do not increase"),
        (lambda: MapAxis.from_energy_bounds("0 TeV", "1 TeV", 3), GeometryError, "log scale"),
        (lambda: MapAxis.from_energy_bounds("1 TeV", "10 TeV", 0), GeometryError, "0 bins"),
        (lambda: MapAxis([1, 2, 2, 3], "energy"), GeometryError, "edge 1 is 2, edge 2 is 2"),
        (lambda: MapAxis([1, np.nan, 3], "energy"), GeometryError, "edge 1 is not finite"),
        (lambda: MapAxis([1], "energy"), GeometryError, "two edges"),
        (lambda: MapAxis([1, 2], "energy", interp="cubic"), GeometryError, "'cubic' is unknown"),
        (lambda: MapAxis.from_bounds("1 deg", "2 TeV", 3, "rad"), UnitError, "different units"),
    ],
)
def test_bad_input_is_named(build, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        build()


def test_equality_is_tolerant_and_hash_agrees():
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 10)
    near = MapAxis(axis.edges * (1 + 1e-9), "energy")
    assert axis == near
    assert hash(axis) == hash(near)
    for other in (
        MapAxis(axis.edges * (1 + 1e-5), "energy"),
        axis.rename("energy_true"),
        axis.squash(),
        "axis",
    ):
        assert axis != other
    assert "edge 3" in (
        axis.difference(MapAxis(np.where(np.arange(11) == 3, 1.001, 1) * axis.edges, "energy")) or ""
    )


def test_low_energies_are_told_apart_too():
    """An absolute tolerance in TeV would take two axes in MeV for the same."""
    assert MapAxis.from_energy_edges([10, 20] * u.MeV) != MapAxis.from_energy_edges([10, 20.01] * u.MeV)


def test_axis_cannot_be_changed():
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 10)
    with pytest.raises(ValueError, match="read-only"):
        axis.edges[0] = 1
    with pytest.raises(AttributeError):
        axis.name = "other"


def test_squash_slice_rename():
    axis = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 4)
    assert axis.squash().edges.tolist() == [axis.edges[0], axis.edges[-1]]
    assert axis.slice(1, 3).edges.tolist() == axis.edges[1:4].tolist()
    assert axis.rename("energy_true").name == "energy_true"
    with pytest.raises(GeometryError, match="no bins 2 to 6 among 4"):
        axis.slice(2, 6)


edges = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12, unique=True).map(sorted)


@given(edges=edges, interp=st.sampled_from(["lin", "log", "sqrt"]))
def test_pickle_and_json_keep_every_bit(edges, interp):
    axis = MapAxis(edges, "energy", interp=interp)
    for again in (
        pickle.loads(pickle.dumps(axis)),
        MapAxis.from_dict(json.loads(json.dumps(axis.to_dict()))),
    ):
        assert again.edges.tobytes() == axis.edges.tobytes()
        assert again == axis


@given(edges=edges, interp=st.sampled_from(["lin", "log", "sqrt"]), position=st.floats(0, 1))
def test_pixel_and_coordinate_are_inverse(edges, interp, position):
    axis = MapAxis(edges, "energy", interp=interp)
    value = axis.edges[0] + position * (axis.edges[-1] - axis.edges[0])
    np.testing.assert_allclose(axis.pix_to_coord(axis.coord_to_pix(value)), value, rtol=1e-9)
