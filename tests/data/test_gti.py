"""Good time intervals: what a file may hold, and the algebra of intervals."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.data import GTI, TimeReference
from gammaflow.data.fits_file import FitsFile
from gammaflow.errors import CorruptFileError, GammaflowError, NoGtiError, UnitError

REFERENCE = TimeReference(60000.0, 0.0)


def gti_file(
    path: Path, start: list[float], stop: list[float], unit: str | None = "s", **cards: object
) -> FitsFile:
    columns = [
        fits.Column(name, "D", unit=unit, array=np.array(v)) for name, v in (("START", start), ("STOP", stop))
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="GTI")
    hdu.header.update({"MJDREFI": 60000, "MJDREFF": 0.0, "TIMESYS": "TT", **cards})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path / "gti.fits")
    return FitsFile.read(path / "gti.fits")


@pytest.mark.parametrize(
    ("start", "stop", "error", "message"),
    [
        ([], [], NoGtiError, "no rows"),
        ([5.0], [5.0], NoGtiError, "every interval is of length zero"),
        ([9.0], [5.0], NoGtiError, "the interval of row 0 stops before it starts"),
        ([0.0, 9.0], [5.0, 8.0], CorruptFileError, "row 1 stops before it starts"),
        ([0.0, np.nan], [5.0, 8.0], CorruptFileError, "row 1 is nan to 8"),
    ],
)
def test_times_that_are_not_good_are_refused(
    tmp_path: Path, start: list[float], stop: list[float], error: type[GammaflowError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        GTI.from_table(gti_file(tmp_path, start, stop).table("GTI"))
    assert caught.value.where.endswith("gti.fits[GTI]")


@pytest.mark.parametrize(
    ("unit", "cards", "factor"),
    [("s", {}, 1), (None, {}, 1), (None, {"TIMEUNIT": "d"}, 86400), ("h", {"TIMEUNIT": "s"}, 3600)],
)
def test_times_are_in_the_unit_of_the_column_else_of_the_header(
    tmp_path: Path, unit: str | None, cards: dict[str, str], factor: float
) -> None:
    gti = GTI.from_table(gti_file(tmp_path, [1.0, 4.0], [3.0, 4.5], unit, **cards).table("GTI"))
    assert gti.ontime == pytest.approx(2.5 * factor)
    assert gti.start[1] == pytest.approx(4 * factor)
    assert gti.reference.isclose(Time(60000, format="mjd", scale="tt"))


def test_a_time_in_metres_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match=r"\[GTI\].START: the unit is 'm', one like s is needed"):
        GTI.from_table(gti_file(tmp_path, [1.0], [3.0], "m").table("GTI"))


def test_union_merges_what_overlaps_or_touches() -> None:
    gti = GTI([10, 0, 4, 20, 2], [12, 3, 5, 25, 4], REFERENCE).union()
    np.testing.assert_array_equal(gti.start, [0, 10, 20])
    np.testing.assert_array_equal(gti.stop, [5, 12, 25])


intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=6)


def marks(gti: GTI) -> np.ndarray:
    """Which of the seconds 0..90 are good."""
    seconds = np.arange(90) + 0.5
    return ((seconds[:, None] > gti.start) & (seconds[:, None] < gti.stop)).any(axis=1)


@given(intervals, intervals)
def test_union_and_intersection_are_those_of_sets(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    a, b = (GTI([s for s, _ in x], [s + n for s, n in x], REFERENCE) for x in (first, second))
    # another zero point must not matter
    b = b.to_reference(TimeReference(59999.0, 0.25))
    both = a.intersection(b)
    np.testing.assert_array_equal(marks(both), marks(a) & marks(b.to_reference(REFERENCE)))
    assert both.ontime == pytest.approx(marks(both).sum())
    joined = GTI.stack([a, b])
    assert len(joined) == len(a) + len(b)
    assert joined.union().ontime == pytest.approx((marks(a) | marks(b.to_reference(REFERENCE))).sum())


def test_select_time_takes_one_interval_or_several() -> None:
    gti = GTI.create(Time("2024-01-01T00:00:00"), Time("2024-01-01T01:00:00"))
    one = (Time("2024-01-01T00:10:00"), Time("2024-01-01T00:20:00"))
    two = (Time("2024-01-01T00:50:00"), Time("2024-01-01T02:00:00"))
    assert gti.select_time(one).ontime == pytest.approx(600, abs=1e-6)
    assert gti.select_time([one, two]).ontime == pytest.approx(1200, abs=1e-6)
    assert gti.select_time([one, two]).time_stop[-1].isclose(gti.time_stop[0])
    assert len(gti.select_time((Time("2025-01-01"), Time("2025-01-02")))) == 0


def test_create_takes_durations_and_the_table_is_that_of_the_format() -> None:
    gti = GTI.create([0, 1] * u.h, [0.5, 1.5] * u.h, "2024-01-01")
    assert gti.ontime == pytest.approx(3600)
    table = gti.to_table()
    assert table.colnames == ["START", "STOP"]
    assert table["STOP"].unit == u.s
    assert TimeReference.from_cards(table.meta) == gti.time_reference
