"""Columns of an astropy table with their units, whoever wrote it: in any letter case, masked, counting photons."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from gammaflow.errors import CorruptFileError, MissingHduError, UnitError

Floats = NDArray[np.float64]

_PARTICLES = (u.ph, u.ct, u.electron)


class TableColumns:
    """The columns of a table by their names in lower case.

    Parameters
    ----------
    table : Table
        From any reader; missing values may be masked.
    where : str
        Named in errors.

    Attributes
    ----------
    meta : dict
        The cards of the table by their names in upper case.
    """

    def __init__(self, table: Table, where: str) -> None:
        self._table, self._where = table, where
        self._names = {str(name).lower(): name for name in reversed(table.colnames)}
        self.meta = {str(key).upper(): value for key, value in table.meta.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @property
    def where(self) -> str:
        """The place, for messages."""
        return self._where

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return sorted(self._names)

    def raw(self, name: str) -> NDArray[Any]:
        """Values as they are; NaN, or False, where there are none."""
        if name not in self._names:
            raise MissingHduError(
                f"there is no column {name!r}; the table has {', '.join(self.names) or 'none'}",
                where=self._where,
                hint="The GADF of flux points requires it: ask whoever made the file",
            )
        column = self._table[self._names[name]]
        if hasattr(column, "filled"):
            column = column.filled(np.nan if column.dtype.kind == "f" else 0)
        return np.asarray(getattr(column, "value", column))

    def values(self, name: str, unit: u.UnitBase) -> Floats:
        """Values in a unit; photons are no unit."""
        values = self.raw(name)
        if values.dtype.kind not in "fiu":
            raise CorruptFileError(
                f"column {name!r} holds no numbers ({values.dtype})", where=self._where, hint="Check the file"
            )
        found = getattr(self._table[self._names[name]], "unit", None)
        return np.asarray(values, dtype=np.float64) * self._unit_factor(name, found, unit)

    def _unit_factor(self, name: str, found: Any, wanted: u.UnitBase) -> float:
        if found is None and wanted == u.dimensionless_unscaled:
            return 1.0
        try:
            if found is None:
                raise ValueError("no unit")
            plain = u.Unit(found).decompose()
            for particle in _PARTICLES:
                if particle in plain.bases:
                    plain = plain / particle ** plain.powers[plain.bases.index(particle)]
            return float(plain.to(wanted))
        except (ValueError, TypeError, u.UnitConversionError) as error:
            said = "there is no unit" if found is None else f"the unit is {str(found)!r}"
            raise UnitError(
                f"{said}, one like {wanted} is needed",
                where=f"{self._where}.{name}",
                hint="Correct the unit of the column in the file",
            ) from error

    def truths(self, name: str) -> NDArray[np.bool_]:
        """Values as True and False: truth values, numbers, or the words "true" and "false"."""
        values = self.raw(name)
        if values.dtype.kind == "b":
            return values
        if values.dtype.kind in "iuf":
            return np.nan_to_num(values) != 0
        texts = [str(v).strip().lower() for v in values.ravel()]
        if not set(texts) <= {"true", "false"}:
            raise CorruptFileError(
                f"column {name!r} holds no truth values", where=self._where, hint="Check the file"
            )
        return np.array([t == "true" for t in texts]).reshape(values.shape)
