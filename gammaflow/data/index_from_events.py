"""Index tables made from event files alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from gammaflow.data.fits_file import FitsFile
from gammaflow.data.fits_table import FitsTable
from gammaflow.data.index import HduIndex, ObservationIndex
from gammaflow.data.time_reference import TimeReference
from gammaflow.errors import DataError, MissingFileError, MissingHduError
from gammaflow.irf import hdu_class_of

_COLUMNS = ("hdu_type", "hdu_class", "file_dir", "file_name", "hdu_name")


def index_events_files(
    events_paths: Sequence[Path], irf_paths: Sequence[Path | None]
) -> tuple[HduIndex, ObservationIndex]:
    """Both indices of some event files and their responses.

    Parameters
    ----------
    events_paths : sequence of Path
        One file an observation, with an EVENTS table.
    irf_paths : sequence of Path or None
        The responses of each; None: in the event file, else by its TELESCOP, CALDB and IRF cards.

    Raises
    ------
    MissingFileError, MissingHduError, CorruptFileError
        A file is not there, or is not what it should be.
    """
    hdu_rows: list[tuple[str, ...]] = []
    ids: list[int] = []
    row_ids: list[int] = []
    numbers: list[tuple[float, float, float, float]] = []
    reference: TimeReference | None = None
    responses_of: dict[Path, list[tuple[str, str, str]]] = {}
    for events_path, irf_path in zip(events_paths, irf_paths, strict=True):
        file = FitsFile.read(events_path)
        events = file.table("EVENTS")
        obs_id = int(events.number("OBS_ID"))
        own = TimeReference.from_cards(events.header, events.where)
        reference = reference or own
        shift = own.seconds_after(reference)
        start, stop = events.number("TSTART") + shift, events.number("TSTOP") + shift
        numbers.append((events.number("RA_PNT"), events.number("DEC_PNT"), start, stop))
        ids.append(obs_id)
        rows = [(events_path, "events", "events", "EVENTS")]
        rows += [
            (events_path, "gti", "gti", table.name) for table in file.tables() if table.name.startswith("GTI")
        ][:1]
        inside = _responses(file.tables())
        if irf_path is None and not inside:
            irf_path = _caldb_file(events)
        if irf_path is None:
            rows += [(events_path, *response) for response in inside]
        else:
            if irf_path not in responses_of:
                responses_of[irf_path] = _responses(FitsFile.read(irf_path).tables())
            rows += [(irf_path, *response) for response in responses_of[irf_path]]
        for path, hdu_type, hdu_class, name in rows:
            row_ids.append(obs_id)
            hdu_rows.append((hdu_type, hdu_class, str(path.absolute().parent), path.name, name))
    columns = np.array(hdu_rows, dtype=str).reshape(len(hdu_rows), len(_COLUMNS)).T
    hdu_index = HduIndex(
        base_dir=Path(os.path.commonpath([path.absolute().parent for path in events_paths]))
        if ids
        else Path.cwd(),
        obs_id=np.array(row_ids, dtype=np.int64),
        size=np.full(len(row_ids), -1, dtype=np.int64),
        **dict(zip(_COLUMNS, columns, strict=True)),
    )
    return hdu_index, _observation_index(ids, numbers, reference)


def _observation_index(
    ids: list[int], numbers: list[tuple[float, float, float, float]], reference: TimeReference | None
) -> ObservationIndex:
    obs_id, rows = np.unique(np.array(ids, dtype=np.int64), return_index=True)
    if len(obs_id) != len(ids):
        repeated = sorted({number for number in ids if ids.count(number) > 1})
        raise DataError(
            f"several event files have OBS_ID {', '.join(map(str, repeated))}",
            hint="Give each observation once; a number names one observation only.",
        )
    ra, dec, start, stop = np.array(numbers, dtype=np.float64).reshape(len(ids), 4)[rows].T
    names = {"OBS_ID": obs_id, "RA_PNT": ra, "DEC_PNT": dec, "TSTART": start, "TSTOP": stop}
    meta = {"EXTNAME": "OBS_INDEX", **({} if reference is None else reference.to_cards())}
    return ObservationIndex(
        obs_id, ra, dec, start, stop, reference, "the event files' headers", lambda: Table(names, meta=meta)
    )


def _responses(tables: Sequence[FitsTable]) -> list[tuple[str, str, str]]:
    """HDU_TYPE, HDU_CLASS and HDU_NAME of the tables that say they are responses."""
    found = []
    for table in tables:
        hdu_class = hdu_class_of(table.header)
        if hdu_class is not None:
            hdu_type = next(
                name for name in ("aeff", "edisp", "psf", "bkg", "rad_max") if hdu_class.startswith(name)
            )
            found.append((hdu_type, hdu_class, table.name))
    return found


def _caldb_file(events: FitsTable) -> Path:
    """The response file in ``$CALDB/data/<telescop>/<caldb>/bcf/<irf>/``."""
    root = os.environ.get("CALDB")
    cards = [str(events.header.get(name, "")).strip() for name in ("TELESCOP", "CALDB", "IRF")]
    if root is None or not all(cards):
        raise MissingHduError(
            "the file holds no responses, and TELESCOP, CALDB, IRF and $CALDB lead to none",
            where=events.where,
            hint="Pass irfs_paths, or set CALDB to the folder that holds data/.",
        )
    folder = Path(root) / "data" / cards[0].lower() / cards[1] / "bcf" / cards[2]
    files = sorted(path for path in folder.glob("*") if path.is_file())
    if not files:
        raise MissingFileError(
            "there is no response file in this folder",
            where=str(folder),
            hint="Pass irfs_paths, or correct CALDB.",
        )
    return files[0]
