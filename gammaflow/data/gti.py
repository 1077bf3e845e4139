"""Good time intervals: when the telescopes took data that can be used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.table import Table
from astropy.time import Time
from numpy.typing import ArrayLike, NDArray

from gammaflow.data.fits_table import FitsTable, unit_factor
from gammaflow.data.time_reference import TimeReference
from gammaflow.errors import CorruptFileError, NoGtiError


class GTI:
    """Good time intervals, as seconds after a reference time.

    Parameters
    ----------
    start, stop : array_like
        Seconds after the reference, shape ``(n,)``.
    reference : TimeReference or Time
        What they count from.
    """

    def __init__(self, start: ArrayLike, stop: ArrayLike, reference: TimeReference | Time) -> None:
        self.start: NDArray[np.float64] = np.atleast_1d(np.asarray(start, dtype=np.float64))
        self.stop: NDArray[np.float64] = np.atleast_1d(np.asarray(stop, dtype=np.float64))
        if self.start.shape != self.stop.shape or self.start.ndim != 1:
            raise ValueError(f"start and stop have shapes {self.start.shape} and {self.stop.shape}")
        self.time_reference = (
            reference if isinstance(reference, TimeReference) else TimeReference.from_time(Time(reference))
        )

    @classmethod
    def create(
        cls, start: Time | u.Quantity, stop: Time | u.Quantity, reference_time: Time | str = "2000-01-01"
    ) -> GTI:
        """From times, or durations after ``reference_time``."""
        reference = TimeReference.from_time(
            Time(reference_time, scale=None if isinstance(reference_time, Time) else "tt")
        )
        seconds = [
            reference.seconds(value) if isinstance(value, Time) else u.Quantity(value).to_value("s")
            for value in (start, stop)
        ]
        return cls(seconds[0], seconds[1], reference)

    @classmethod
    def from_table(cls, table: FitsTable) -> GTI:
        """From a GADF GTI table; times of a file without units are in TIMEUNIT (else seconds).

        Raises
        ------
        NoGtiError
            There is no row, or no interval that is longer than nothing.
        CorruptFileError
            A time is not finite, or an interval stops before it starts.
        """
        fallback = str(table.header.get("TIMEUNIT", "s")).strip() or "s"
        limits = []
        for name in ("START", "STOP"):
            factor = unit_factor(table.unit(name) or fallback, "s", where=f"{table.where}.{name}")
            limits.append(np.asarray(table.column(name), dtype=np.float64).reshape(-1) * factor)
        start, stop = limits
        where = table.where
        if len(start) == 0:
            raise NoGtiError(
                "the table of good time intervals has no rows", where=where, hint="Exclude this observation."
            )
        bad = np.flatnonzero(~np.isfinite(start + stop))
        if bad.size:
            raise CorruptFileError(
                f"the good time of row {bad[0]} is {start[bad[0]]} to {stop[bad[0]]}",
                where=where,
                hint="Correct the file.",
            )
        reversed_rows = np.flatnonzero(stop < start)
        if not (stop > start).any():
            found = (
                f"the interval of row {reversed_rows[0]} stops before it starts"
                if reversed_rows.size
                else "every interval is of length zero"
            )
            raise NoGtiError(f"there is no good time: {found}", where=where, hint="Exclude this observation.")
        if reversed_rows.size:
            raise CorruptFileError(
                f"the good time interval of row {reversed_rows[0]} stops before it starts",
                where=where,
                hint="Correct the file.",
            )
        return cls(start, stop, TimeReference.from_cards(table.header, where))

    def __len__(self) -> int:
        return len(self.start)

    def __repr__(self) -> str:
        return f"GTI({len(self)} intervals, {self.ontime} s, after MJD {self.reference.mjd} TT)"

    @property
    def reference(self) -> Time:
        """What the seconds count from, scale TT."""
        return self.time_reference.time

    @cached_property
    def ontime(self) -> float:
        """Sum of the lengths in s."""
        return float((self.stop - self.start).sum())

    @property
    def time_start(self) -> Time:
        """Starts as `Time` (TT)."""
        return self.time_reference.at(self.start)

    @property
    def time_stop(self) -> Time:
        """Stops as `Time` (TT)."""
        return self.time_reference.at(self.stop)

    def to_reference(self, reference: TimeReference) -> GTI:
        """The same intervals as seconds after another reference."""
        shift = self.time_reference.seconds_after(reference)
        return GTI(self.start + shift, self.stop + shift, reference)

    def union(self) -> GTI:
        """Sorted intervals, with those that overlap or touch merged."""
        if len(self) == 0:
            return self
        order = np.argsort(self.start, kind="stable")
        start, stop = self.start[order], np.maximum.accumulate(self.stop[order])
        first = np.concatenate([[True], start[1:] > stop[:-1]])
        last = np.concatenate([first[1:], [True]])
        return GTI(start[first], stop[last], self.time_reference)

    def intersection(self, other: GTI) -> GTI:
        """Where both are good; no interval is of length zero."""
        mine, theirs = self.union(), other.to_reference(self.time_reference).union()
        start = np.maximum(mine.start[:, np.newaxis], theirs.start).ravel()
        stop = np.minimum(mine.stop[:, np.newaxis], theirs.stop).ravel()
        keep = stop > start
        return GTI(start[keep], stop[keep], self.time_reference)

    def select_time(self, intervals: tuple[Time, Time] | Iterable[tuple[Time, Time]]) -> GTI:
        """The part within one ``(start, stop)`` or any of several; what is left may be empty."""
        return self.intersection(GTI.from_intervals(intervals, self.time_reference))

    @classmethod
    def from_intervals(
        cls, intervals: tuple[Time, Time] | Iterable[tuple[Time, Time]], reference: TimeReference
    ) -> GTI:
        """From one pair of times or several."""
        pairs = [(first, last) for first, last in _pairs(intervals)]
        start = [float(reference.seconds(first)) for first, _ in pairs]
        stop = [float(reference.seconds(last)) for _, last in pairs]
        return cls(start, stop, reference)

    @classmethod
    def stack(cls, gtis: Iterable[GTI]) -> GTI:
        """Concatenation, in the reference of the first."""
        parts = list(gtis)
        reference = parts[0].time_reference
        parts = [part.to_reference(reference) for part in parts]
        return cls(
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.stop for part in parts]),
            reference,
        )

    def to_table(self) -> Table:
        """Astropy table in the GADF layout, seconds after the reference that its meta gives."""
        meta = {
            "EXTNAME": "GTI",
            "HDUCLASS": "GADF",
            "HDUCLAS1": "GTI",
            "HDUVERS": "0.3",
            **self.time_reference.to_cards(),
        }
        return Table({"START": self.start * u.s, "STOP": self.stop * u.s}, meta=meta)


def _pairs(intervals: tuple[Time, Time] | Iterable[tuple[Time, Time]]) -> Iterable[tuple[Time, Time]]:
    if isinstance(intervals, tuple) and len(intervals) == 2 and isinstance(intervals[0], Time):
        return [(intervals[0], intervals[1])]
    if isinstance(intervals, Time):
        return [(intervals[0], intervals[1])]
    return intervals
