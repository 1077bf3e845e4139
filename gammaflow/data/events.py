"""Event lists: the reconstructed gamma-ray candidates of one observation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray
from regions import SkyRegion

from gammaflow.data.fits_table import FitsTable, unit_factor
from gammaflow.data.gti import GTI
from gammaflow.data.time_reference import TimeReference
from gammaflow.errors import MissingHduError

# the columns every event list must have, and the unit they are used in
REQUIRED_UNITS = {"RA": "deg", "DEC": "deg", "ENERGY": "TeV", "TIME": "s"}


class _Columns(Protocol):
    """What columns are taken from: a FITS table, or arrays in memory."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def unit(self, name: str) -> str | None: ...

    def column(self, name: str) -> NDArray: ...


class EventList:
    """Events of one observation; columns are read when they are first used.

    Make one with `from_table` or `from_arrays`.

    Attributes
    ----------
    meta : Mapping
        Header cards.
    time_reference : TimeReference
        What `time` counts from.
    """

    def __init__(
        self, columns: _Columns, time_reference: TimeReference, meta: Mapping[str, Any], where: str
    ) -> None:
        self.meta = meta
        self.time_reference = time_reference
        self.where = where
        self._columns = columns
        self._factors = {}
        for name, needed in REQUIRED_UNITS.items():
            if name not in columns.names:
                raise MissingHduError(
                    f"there is no column {name!r}; the table has {', '.join(columns.names) or 'none'}",
                    where=where,
                    hint="The data format (GADF) requires it; ask whoever made the file.",
                )
            fallback = {"ENERGY": "EUNIT", "TIME": "TIMEUNIT"}.get(name)
            unit = columns.unit(name) or (meta.get(fallback) if fallback else None)
            self._factors[name] = unit_factor(unit, needed, where=f"{where}.{name}")
        self._read: dict[str, NDArray] = {}

    @classmethod
    def from_table(cls, table: FitsTable) -> EventList:
        """From a GADF EVENTS table; it may have no rows.

        Raises
        ------
        MissingHduError
            A required column (RA, DEC, ENERGY, TIME) or the reference time is not there.
        UnitError
            One of them has no unit, or one of another kind.
        """
        return cls(table, TimeReference.from_cards(table.header, table.where), table.header, table.where)

    @classmethod
    def from_arrays(
        cls,
        columns: Mapping[str, NDArray],
        time_reference: TimeReference,
        meta: Mapping[str, Any] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> EventList:
        """From arrays of equal length by upper-case name; required columns are in deg, TeV and s."""
        return cls(
            _Arrays(dict(columns), {**REQUIRED_UNITS, **(units or {})}), time_reference, meta or {}, "events"
        )

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"EventList({len(self)} events, columns {', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in upper case."""
        return self._columns.names

    @property
    def ra(self) -> NDArray[np.floating]:
        """Right ascension (ICRS) in deg, as wide as stored and not wrapped: it may be negative."""
        return self.column("RA")

    @property
    def dec(self) -> NDArray[np.floating]:
        """Declination (ICRS) in deg, as wide as stored."""
        return self.column("DEC")

    @property
    def energy(self) -> NDArray[np.floating]:
        """Reconstructed energy in TeV, as wide as stored."""
        return self.column("ENERGY")

    @property
    def time(self) -> NDArray[np.float64]:
        """Arrival time in s after `time_reference`."""
        return self.column("TIME")

    def column(self, name: str) -> NDArray:
        """Any column by name; RA, DEC, ENERGY and TIME in deg, TeV and s, others as stored.

        Raises
        ------
        MissingHduError
            There is no such column.
        """
        name = name.upper()
        if name not in self._read:
            values = self._columns.column(name)
            if name == "TIME":
                values = values.astype(np.float64, copy=False)
            factor = self._factors.get(name, 1.0)
            # a Python float leaves float32 as it is
            values = values if factor == 1.0 else values * factor
            values.setflags(write=False)
            self._read[name] = values
        return self._read[name]

    def unit(self, name: str) -> str | None:
        """Unit of what `column` gives."""
        return REQUIRED_UNITS.get(name.upper()) or self._columns.unit(name)

    @property
    def radec(self) -> SkyCoord:
        """Positions as `SkyCoord`."""
        return SkyCoord(self.ra, self.dec, unit="deg", frame="icrs")

    def select(self, mask: NDArray[np.bool_] | NDArray[np.integer]) -> EventList:
        """The events of a mask or of row numbers, all columns."""
        columns = {name: self.column(name)[mask] for name in self.names}
        units = {name: unit for name in self.names if (unit := self.unit(name))}
        return EventList(_Arrays(columns, units), self.time_reference, self.meta, self.where)

    def select_time(self, intervals: GTI | tuple[Time, Time] | Iterable[tuple[Time, Time]]) -> EventList:
        """Events with ``start <= time < stop`` of any interval."""
        if not isinstance(intervals, GTI):
            intervals = GTI.from_intervals(intervals, self.time_reference)
        good = intervals.to_reference(self.time_reference).union()
        index = np.searchsorted(good.start, self.time, side="right") - 1
        inside = (index >= 0) & (self.time < good.stop[np.maximum(index, 0)]) if len(good) else index >= 0
        return self.select(inside)

    def select_energy(
        self, energy_min: u.Quantity | None = None, energy_max: u.Quantity | None = None
    ) -> EventList:
        """Events with ``energy_min <= energy < energy_max``."""
        mask = np.ones(len(self), dtype=bool)
        if energy_min is not None:
            mask &= self.energy >= u.Quantity(energy_min).to_value("TeV")
        if energy_max is not None:
            mask &= self.energy < u.Quantity(energy_max).to_value("TeV")
        return self.select(mask)

    def select_offset(self, center: SkyCoord, offset_max: u.Quantity) -> EventList:
        """Events closer than ``offset_max`` to a position."""
        return self.select(self.radec.separation(center.icrs).deg < u.Quantity(offset_max).to_value("deg"))

    def select_region(self, region: SkyRegion, wcs: Any) -> EventList:
        """Events inside a sky region, as the astropy WCS ``wcs`` projects it."""
        return self.select(np.asarray(region.contains(self.radec, wcs)))

    def to_table(self) -> Table:
        """All columns as an astropy table; TIME in s after the reference that its meta gives."""
        table = Table({name: self.column(name) for name in self.names})
        for name in self.names:
            table[name].unit = self.unit(name)
        table.meta = {**dict(self.meta), **self.time_reference.to_cards()}
        return table


class _Arrays:
    """Columns that are already in memory."""

    def __init__(self, arrays: dict[str, NDArray], units: dict[str, str]) -> None:
        lengths = {name: len(values) for name, values in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        self.names = tuple(arrays)
        self._arrays, self._units = arrays, units
        self._length = next(iter(lengths.values()), 0)

    def __len__(self) -> int:
        return self._length

    def unit(self, name: str) -> str | None:
        return self._units.get(name.upper())

    def column(self, name: str) -> NDArray:
        if name.upper() not in self._arrays:
            raise MissingHduError(f"there is no column {name.upper()!r}; there are {', '.join(self.names)}")
        return self._arrays[name.upper()]
