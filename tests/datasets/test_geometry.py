"""The geometry of a map dataset."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammaflow.datasets import Box, MapDatasetGeometry
from gammaflow.errors import GeometryError, NoOverlapError
from gammaflow.maps import MapAxis, WcsGeom
from tests.datasets.small import ENERGY, ENERGY_TRUE, part_of, whole_geometry


def test_defaults_are_those_of_the_field():
    geom = WcsGeom.create(skydir=(0.0, 0.0), frame="galactic", width=(10, 8), binsz=0.02, axes=[ENERGY])
    geometry = MapDatasetGeometry.create(geom)
    assert geometry.energy_axis_true.name == "energy_true"
    np.testing.assert_array_equal(geometry.energy_axis_true.edges, ENERGY.edges)
    assert (geometry.rad_axis.nbin, geometry.rad_axis.edges[-1], geometry.rad_axis.unit) == (66, 0.66, "deg")
    assert geometry.migra_axis is None
    assert geometry.geom_irf.shape_image == (40, 50)
    assert geometry.shapes["psf"] == (3, 66, 40, 50)
    assert geometry.shapes["edisp"] == (3, 3, 40, 50)


def test_a_migra_axis_takes_the_place_of_the_kernel():
    geometry = whole_geometry(migra=True)
    assert geometry.shapes["edisp"] == (4, 6, 6, 8)


@pytest.mark.parametrize(
    ("axes", "message"),
    [([], r"axes \[\]"), ([ENERGY, ENERGY_TRUE], "just 'energy'"), ([ENERGY_TRUE], "energy_true")],
)
def test_the_map_has_just_an_energy_axis(axes, message):
    with pytest.raises(GeometryError, match=message):
        MapDatasetGeometry.create(WcsGeom.create(width=1.0, binsz=0.1, axes=axes))


def test_an_axis_in_the_wrong_place_is_refused():
    geom = WcsGeom.create(width=1.0, binsz=0.1, axes=[ENERGY])
    with pytest.raises(GeometryError, match="energy"):
        MapDatasetGeometry.create(geom, energy_axis_true=ENERGY)


def test_a_cutout_cuts_the_map_and_the_response_grid_each_on_its_own_pixels():
    parent = whole_geometry()
    part = part_of(parent, 4.0, 6.0, 2.0)
    assert part.geom.shape_image == (4, 4)
    box = part.box_in(parent)
    np.testing.assert_array_equal(
        part.geom.pixel_vectors(), parent.geom.pixel_vectors()[(slice(None), *box.image)]
    )
    np.testing.assert_array_equal(
        part.geom_irf.pixel_vectors(), parent.geom_irf.pixel_vectors()[(slice(None), *box.irf)]
    )
    assert part.parent == parent
    assert parent.parent is parent


def test_the_response_grid_keeps_three_pixels():
    part = part_of(whole_geometry(), 8.0, 6.0, 0.5)
    assert part.geom.shape_image == (1, 1)
    assert part.geom_irf.shape_image == (3, 3)


def test_a_cutout_that_misses_the_map_is_an_error():
    with pytest.raises(NoOverlapError):
        whole_geometry().cutout(SkyCoord(90, 0, unit="deg", frame="galactic"), 2.0)


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
@pytest.mark.parametrize("migra", [False, True])
def test_it_survives_json_and_pickle(proj, migra):
    part = part_of(whole_geometry(migra=migra, proj=proj, frame="icrs", lon=83.6), 4.0, 6.0, 3.0)
    for copy in (
        MapDatasetGeometry.from_dict(json.loads(json.dumps(part.to_dict()))),
        pickle.loads(pickle.dumps(part)),
    ):
        assert copy == part
        assert hash(copy) == hash(part)
        assert copy.box_in(part.parent) == part.box_in(part.parent)
        np.testing.assert_array_equal(copy.energy_axis_true.edges, part.energy_axis_true.edges)
    assert pickle.loads(pickle.dumps(part)).parent == part.parent


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (whole_geometry(lon=1.0), "CRVAL1"),
        (whole_geometry(frame="icrs"), "frame"),
        (whole_geometry(proj="TAN"), "projection"),
        (whole_geometry(binsz_irf=0.5), "CDELT1"),
        (whole_geometry(migra=True), "axis 'migra': one has this axis"),
        (
            MapDatasetGeometry.create(
                WcsGeom.create((0.0, 0.0), 0.5, (8, 6), frame="galactic", axes=[ENERGY]),
                MapAxis.from_energy_bounds("0.08 TeV", "13 TeV", nbin=4, name="energy_true"),
                whole_geometry().rad_axis,
                binsz_irf=1.0,
            ),
            "axis 'energy_true': edge 1",
        ),
    ],
)
def test_geometries_that_do_not_fit_name_the_number_that_differs(other, message):
    with pytest.raises(GeometryError, match=message):
        part_of(whole_geometry(), 4.0, 6.0, 2.0).box_in(other)


def test_a_response_pixel_on_a_corner_of_map_pixels_belongs_to_the_upper_one():
    # Pixels of 1 deg over pixels of 0.5 deg: every centre of the one is a corner of the other.
    geometry = whole_geometry()
    y, x = geometry.irf_centers_in_map()
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(1, 13, 2)[:, None], (6, 8)))
    np.testing.assert_array_equal(x, np.broadcast_to(np.arange(1, 17, 2), (6, 8)))


class TestBox:
    def test_union_holds_all(self):
        a, b = Box((0, 2), (5, 9), (1, 2), (0, 1)), Box((1, 4), (3, 6), (0, 1), (0, 3))
        assert Box.union([a, b]) == Box((0, 4), (3, 9), (0, 2), (0, 3))

    def test_slices_in_and_moved_are_inverse(self):
        a, b = Box((2, 4), (5, 9), (1, 2), (1, 2)), Box((1, 8), (3, 10), (1, 4), (0, 3))
        assert a.slices_in(b) == Box((1, 3), (2, 6), (0, 1), (1, 2))
        assert a.slices_in(b).moved(b) == a
        assert a.shape_image == (2, 4)

    def test_lists_survive_json(self):
        a = Box((2, 4), (5, 9), (1, 2), (1, 2))
        assert Box.from_list(json.loads(json.dumps(a.to_list()))) == a
