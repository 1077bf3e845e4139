"""Counts: every event in its bin, and only there."""

import numpy as np
import pytest

from gammaflow.data import EventList
from gammaflow.makers.counts import _cos_sin, make_counts
from gammaflow.maps import lonlat_to_vectors
from tests.makers import small


def event_list(ra, dec, energy, dtype=np.float64):
    columns = {"RA": ra, "DEC": dec, "ENERGY": energy}
    columns = {name: np.asarray(values, dtype=dtype) for name, values in columns.items()}
    return EventList.from_arrays({**columns, "TIME": np.zeros(len(ra))}, small.REFERENCE)


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_events_are_in_the_pixel_and_bin_that_hold_them(proj, dtype):
    geom = small.geometry(proj=proj).geom
    drawn = small.events(5000)
    events = event_list(drawn.ra, drawn.dec, drawn.energy, dtype)
    counts = make_counts(events, geom)
    assert counts.dtype == np.int32
    expected = np.zeros_like(counts)
    x, y = geom.vectors_to_pix(lonlat_to_vectors(events.ra, events.dec))
    bins = geom.axis("energy").coord_to_idx(events.energy)
    for k, row, column in zip(bins, np.rint(y), np.rint(x), strict=True):
        if k >= 0 and 0 <= row < counts.shape[1] and 0 <= column < counts.shape[2]:
            expected[k, int(row), int(column)] += 1
    np.testing.assert_array_equal(counts, expected)
    assert 0 < counts.sum() < len(events)


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one():
    geom = small.geometry().geom
    edges = geom.axis("energy").edges
    energies = [edges[0], edges[1], edges[-1], np.nextafter(edges[0], 0), np.nan, 0.0, -1.0, np.inf]
    counts = make_counts(event_list([small.RA] * 8, [small.DEC] * 8, energies), geom)
    assert counts.sum(axis=(1, 2)).tolist() == [1, 1, 0, 0, 0, 0]


def test_positions_off_the_map_or_not_finite_are_dropped():
    geom = small.geometry().geom
    ra = [small.RA, small.RA + 180, np.nan, small.RA, small.RA - 360, small.RA + 2.8]
    dec = [small.DEC, -small.DEC, small.DEC, np.nan, small.DEC, small.DEC]
    counts = make_counts(event_list(ra, dec, [1.0] * 6), geom)
    # The one at the centre, and the one that says it with a negative right ascension
    assert counts.sum() == 2
    assert counts.max() == 2


def test_several_events_in_one_bin_add_up():
    geom = small.geometry().geom
    counts = make_counts(event_list([small.RA] * 300, [small.DEC] * 300, [1.0] * 300), geom)
    assert counts.max() == 300


def test_no_events_give_zeros():
    geom = small.geometry().geom
    counts = make_counts(event_list([], [], []), geom)
    assert counts.shape == geom.data_shape
    assert not counts.any()


def test_cosine_and_sine_from_the_half_angle():
    angle = np.concatenate([np.linspace(-10, 10, 4001), np.array([0, 0.5, 1, 1.5, 2]) * np.pi])
    cosine, sine = _cos_sin(angle)
    np.testing.assert_allclose(cosine, np.cos(angle), atol=1e-15)
    np.testing.assert_allclose(sine, np.sin(angle), atol=1e-15)
