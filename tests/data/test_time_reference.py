"""Mission time: exact to a microsecond, whatever scale the header names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.time import Time

from gammaflow.data import TimeReference
from gammaflow.errors import CorruptFileError, MissingHduError, UnsupportedError


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        (
            {"MJDREFI": 51910, "MJDREFF": 0.000742870370370241, "TIMESYS": "TT"},
            Time("2001-01-01T00:01:04.184", scale="tt"),
        ),
        ({"MJDREFI": 51910, "MJDREFF": 0.000742870370370241}, Time("2001-01-01T00:00:00", scale="utc")),
        ({"MJDREFI": "51910", "MJDREFF": "0.5"}, Time("2001-01-01T12:00:00", scale="tt")),
        ({"MJDREFI": 51910, "MJDREFF": 0.0, "TIMESYS": "UTC"}, Time("2001-01-01T00:00:00", scale="utc")),
        ({"MJDREFI": 51910, "TIMESYS": "tai "}, Time("2001-01-01T00:00:00", scale="tai")),
        ({"MJDREF": 51910.25, "TIMESYS": "TDT"}, Time("2001-01-01T06:00:00", scale="tt")),
        ({"MJDREFI": 51910, "MJDREFF": 0.0, "TIMESYS": "TDB"}, Time("2001-01-01T00:00:00", scale="tdb")),
    ],
)
def test_header_cards_name_an_instant(cards: dict[str, Any], expected: Time) -> None:
    reference = TimeReference.from_cards(cards)
    assert abs((reference.time - expected).sec) < 1e-6
    assert 0 <= reference.mjd_fraction < 1
    assert TimeReference.from_cards(reference.to_cards()) == reference


@pytest.mark.parametrize(
    ("cards", "error", "message"),
    [
        ({}, MissingHduError, "no card MJDREFI or MJDREF"),
        ({"MJDREFI": "soon"}, CorruptFileError, "the reference time MJDREFI, MJDREFF is 'soon'"),
        ({"MJDREFI": 51910, "MJDREFF": np.nan}, CorruptFileError, "nan"),
        ({"MJDREFI": 51910, "TIMESYS": "LOCAL"}, UnsupportedError, "the time system is 'LOCAL'"),
    ],
)
def test_cards_that_name_none_are_refused(
    cards: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TimeReference.from_cards(cards, "file[EVENTS]")


def test_seconds_and_times_are_inverse_to_each_other() -> None:
    reference = TimeReference(51910.0, 0.000742870370370241)
    seconds = np.array([-1.5, 0.0, 123456789.123456, 6.6e8])
    np.testing.assert_allclose(reference.seconds(reference.at(seconds)), seconds, rtol=0, atol=1e-6)
    later = TimeReference.from_time(reference.at(86400.0 * 3 + 7.25))
    assert later.seconds_after(reference) == pytest.approx(86400 * 3 + 7.25, abs=1e-6)
    assert (
        TimeReference.from_time(Time("2020-06-01T12:00:00", scale="utc")).time.utc.isot
        == "2020-06-01T12:00:00.000"
    )
