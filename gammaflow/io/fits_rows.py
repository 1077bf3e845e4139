"""Good time intervals and rows of observations as FITS tables."""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data import GTI, TimeReference
from gammaflow.datasets import CountsDataset, ObservationRow, ObservationTable
from gammaflow.datasets.observations import parse_reference
from gammaflow.datasets.schema import OBSERVATION_COLUMNS
from gammaflow.io.fits_files import FitsDocument

GTI_HDU = "GTI"
OBSERVATIONS_HDU = "META_TABLE"

#: Times that differ by less, in s, are the same: header cards keep no more digits of a reference time.
_SAME_TIME = 1e-5
_FORMATS = {"i": "K", "f": "D", "b": "L"}


def row_hdus(dataset: CountsDataset) -> list[fits.BinTableHDU]:
    """The tables ``GTI`` and ``META_TABLE`` of a dataset, those that it has."""
    hdus = []
    if dataset.gti is not None:
        hdus.append(fits.BinTableHDU(dataset.gti.to_table(), name=GTI_HDU))
    if "obs_id" in dataset.data.variables:
        rows = dataset.observations
        columns = [
            fits.Column(
                name.upper(), _FORMATS[rows[name].dtype.kind], unit=spec.units or None, array=rows[name]
            )
            for name, spec in OBSERVATION_COLUMNS.items()
        ]
        hdus.append(fits.BinTableHDU.from_columns(columns, name=OBSERVATIONS_HDU))
    return hdus


def read_gti(document: FitsDocument, reference: str | None = None) -> GTI | None:
    """Good time intervals; None when the file has none.

    Parameters
    ----------
    document : FitsDocument
        The file.
    reference : str, optional
        The reference time with all digits, if it is known from elsewhere.
    """
    if GTI_HDU not in document:
        return None
    table = document.table(GTI_HDU)
    # Other readers of good times want some; an empty dataset has none.
    empty = GTI([], [], TimeReference.from_cards(table.header, table.where))
    gti = GTI.from_table(table) if len(table) else empty
    if reference is not None:
        exact = parse_reference(reference)
        if abs(exact.seconds_after(gti.time_reference)) < _SAME_TIME:
            return GTI(gti.start, gti.stop, exact)
    return gti


def read_observations(document: FitsDocument) -> ObservationTable | None:
    """The rows of ``META_TABLE``; None when there is none, or its observations have no numbers.

    What other programs leave out is NaN. They may keep all rows as vectors in a single one.
    """
    if OBSERVATIONS_HDU not in document:
        return None
    table = document.table(OBSERVATIONS_HDU)
    if "OBS_ID" not in table:
        return None
    ids = _numbers(table.column("OBS_ID").ravel())
    if ids is None:
        return None
    columns: dict[str, NDArray[np.generic]] = {"obs_id": ids}
    for name, spec in OBSERVATION_COLUMNS.items():
        if name == "obs_id":
            continue
        if name.upper() in table:
            columns[name] = table.column(name.upper(), spec.units or None).ravel()
        if name not in columns or columns[name].shape != ids.shape:
            columns[name] = np.full(ids.shape, name == "used" if spec.dtype == "bool" else np.nan)
    return ObservationTable(columns)


def single_observation(
    rows: ObservationTable | None, obs_id: str, livetime: float, gti: GTI | None
) -> ObservationTable | None:
    """The row of the one observation that a file of others is of, with the livetime that the file gives.

    Stacking sums livetimes over the rows. Nothing is added where the file has several observations, or where
    what it calls its observation is no number.
    """
    if rows is None and obs_id.isdigit() and np.isfinite(livetime):
        rows = ObservationTable.from_rows(
            [
                ObservationRow(
                    int(obs_id),
                    tstart=float(gti.start.min()) if gti else np.nan,
                    tstop=float(gti.stop.max()) if gti else np.nan,
                    ontime=gti.ontime if gti else np.nan,
                    livetime=livetime,
                    ra_pnt=np.nan,
                    dec_pnt=np.nan,
                )
            ]
        )
    if rows is not None and len(rows) == 1 and np.isnan(rows["livetime"][0]):
        rows = rows.replace(livetime=np.array([livetime]))
    return rows


def _numbers(ids: NDArray[np.generic]) -> NDArray[np.int64] | None:
    if ids.dtype.kind in "iu":
        return ids.astype(np.int64)
    texts = [str(i).strip() for i in ids]
    return np.array(texts, dtype=np.int64) if all(t.isdigit() for t in texts) else None
