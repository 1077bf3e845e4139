"""The two index tables of a data store: which observations there are, and where their tables lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gammaflow.data.fits_table import FitsTable, unit_factor
from gammaflow.data.observation_files import HduLocation
from gammaflow.data.time_reference import TimeReference
from gammaflow.errors import MissingHduError


@dataclass(frozen=True, eq=False)
class HduIndex:
    """The HDU index (GADF, "HDU index table"): columns of equal length, one row an HDU.

    Attributes
    ----------
    base_dir : Path
        What FILE_DIR is relative to.
    obs_id : array of int64
    hdu_type, hdu_class : array of str
        In lower case.
    file_dir, file_name, hdu_name : array of str
    size : array of int64
        Bytes of the HDU, -1 where unknown.
    """

    base_dir: Path
    obs_id: NDArray[np.int64]
    hdu_type: NDArray[np.str_]
    hdu_class: NDArray[np.str_]
    file_dir: NDArray[np.str_]
    file_name: NDArray[np.str_]
    hdu_name: NDArray[np.str_]
    size: NDArray[np.int64]

    @classmethod
    def from_table(cls, table: FitsTable, base_dir: Path) -> HduIndex:
        """From the FITS table; FILE_DIR and SIZE may be absent."""

        def text(name: str) -> NDArray[np.str_]:
            if len(table) == 0:
                return np.zeros(0, dtype="U1")
            return np.char.strip(table.column(name).astype(str))

        n_rows = len(table)
        return cls(
            base_dir=base_dir,
            obs_id=table.column("OBS_ID").astype(np.int64),
            hdu_type=np.char.lower(text("HDU_TYPE")),
            hdu_class=np.char.lower(text("HDU_CLASS")),
            file_dir=text("FILE_DIR") if "FILE_DIR" in table else np.full(n_rows, ""),
            file_name=text("FILE_NAME"),
            hdu_name=text("HDU_NAME"),
            size=table.column("SIZE").astype(np.int64) if "SIZE" in table else np.full(n_rows, -1),
        )

    @cached_property
    def obs_ids(self) -> NDArray[np.int64]:
        """Sorted numbers of all observations."""
        return np.unique(self.obs_id)

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self.obs_id, kind="stable")

    @cached_property
    def _sorted_ids(self) -> NDArray[np.int64]:
        return self.obs_id[self._order]

    def rows(self, obs_id: int) -> NDArray[np.intp]:
        """Rows of one observation, in the order of the table."""
        first, last = np.searchsorted(self._sorted_ids, [obs_id, obs_id + 1])
        return self._order[first:last]

    def locations(self, obs_id: int) -> tuple[HduLocation, ...]:
        """Where the tables of one observation are; of several with one type, the first."""
        found: dict[str, HduLocation] = {}
        paths: dict[str, str] = {}
        for row in self.rows(obs_id):
            hdu_type = str(self.hdu_type[row])
            if hdu_type in found:
                continue
            file_dir = str(self.file_dir[row])
            name = os.path.join(file_dir, str(self.file_name[row])) if file_dir else str(self.file_name[row])
            # one string a file: a location pickles small
            name = next((known for known in paths if known == name), name)
            if name not in paths:
                paths[name] = os.path.normpath(os.path.join(self.base_dir, os.path.expandvars(name)))
            size = int(self.size[row])
            found[hdu_type] = HduLocation(
                hdu_type=hdu_type,
                hdu_class=str(self.hdu_class[row]),
                path=paths[name],
                hdu_name=str(self.hdu_name[row]),
                name=name,
                size=size if size >= 0 else None,
            )
        return tuple(found.values())

    def to_table(self) -> Table:
        """As an astropy table in the layout of the format."""
        columns = ("obs_id", "hdu_type", "hdu_class", "file_dir", "file_name", "hdu_name")
        table = Table({name.upper(): getattr(self, name) for name in columns})
        if (self.size >= 0).any():
            table["SIZE"] = self.size
        table.meta = {"EXTNAME": "HDU_INDEX", "HDUCLASS": "GADF", "HDUCLAS1": "INDEX", "HDUCLAS2": "HDU"}
        return table


@dataclass(frozen=True, eq=False)
class ObservationIndex:
    """The observation index (GADF, "Observation index table"), sorted by number, each once.

    Attributes
    ----------
    obs_id : array of int64
    ra, dec : array of float64 or None
        Pointing in deg.
    start, stop : array of float64 or None
        s after ``time_reference``.
    time_reference : TimeReference or None
    where : str
        The table, for messages.
    make_table : callable
        Makes the astropy table with all columns, same rows.
    """

    obs_id: NDArray[np.int64]
    ra: NDArray[np.float64] | None
    dec: NDArray[np.float64] | None
    start: NDArray[np.float64] | None
    stop: NDArray[np.float64] | None
    time_reference: TimeReference | None
    where: str
    make_table: Callable[[], Table]

    @classmethod
    def from_table(cls, table: FitsTable) -> ObservationIndex:
        """From the FITS table; only OBS_ID must be there."""
        obs_id, rows = np.unique(table.column("OBS_ID").astype(np.int64), return_index=True)

        def number(name: str, unit: str) -> NDArray[np.float64] | None:
            if name not in table:
                return None
            factor = unit_factor(table.unit(name) or unit, unit, where=f"{table.where}.{name}")
            return np.asarray(table.column(name)[rows], dtype=np.float64) * factor

        has_times = "MJDREFI" in table.header or "MJDREF" in table.header
        return cls(
            obs_id=obs_id,
            ra=number("RA_PNT", "deg"),
            dec=number("DEC_PNT", "deg"),
            start=number("TSTART", "s"),
            stop=number("TSTOP", "s"),
            time_reference=TimeReference.from_cards(table.header, table.where) if has_times else None,
            where=table.where,
            make_table=lambda: _astropy_table(table, rows),
        )

    def position(self, obs_id: int) -> tuple[float, float] | tuple[None, None]:
        """Pointing of one observation in deg, None where the index does not have it."""
        row = int(np.searchsorted(self.obs_id, obs_id))
        if self.ra is None or self.dec is None or row == len(self.obs_id) or self.obs_id[row] != obs_id:
            return None, None
        return float(self.ra[row]), float(self.dec[row])

    def need(self, *names: str) -> Iterator[NDArray[np.float64]]:
        """Columns (attributes) that a selection needs.

        Raises
        ------
        MissingHduError
            The index lacks one of them.
        """
        card = {"ra": "RA_PNT", "dec": "DEC_PNT", "start": "TSTART", "stop": "TSTOP"}
        for name in names:
            values = getattr(self, name)
            if values is None:
                raise MissingHduError(
                    f"there is no column {card[name]!r}, which this selection needs",
                    where=self.where,
                    hint="Select by observation ids, or add the column.",
                )
            yield values


def _astropy_table(table: FitsTable, rows: NDArray[np.intp]) -> Table:
    result = Table({name: table.column(name)[rows] for name in table.names})
    for name in table.names:
        unit = table.unit(name)
        if unit:
            result[name].unit = unit
    skip = ("TTYPE", "TFORM", "TUNIT", "TDIM", "NAXIS", "TDISP", "TNULL")
    structural = ("XTENSION", "BITPIX", "PCOUNT", "GCOUNT", "TFIELDS", "COMMENT", "HISTORY", "")
    result.meta = {
        name: table.header[name]
        for name in table.header
        if name not in structural and not name.startswith(skip)
    }
    return result
