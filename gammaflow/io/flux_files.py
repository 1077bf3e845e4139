"""Flux points as files: GADF tables in FITS or ECSV, as Gammapy reads and writes them; any table of flux points.

The first extension, ``FLUXPOINTS``, is the table, see `gammaflow.io.flux_tables`; good time intervals are in ``GTI``.
What other programs have no place for goes into a record (an extension, or an entry ``gammaflow`` of the ECSV's header)
that others pass over.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.units import UnitsWarning

from gammaflow.data import GTI
from gammaflow.datasets import Dataset, FluxPointsDataset
from gammaflow.datasets.observations import parse_reference
from gammaflow.errors import CorruptFileError, MissingFileError, UnsupportedError
from gammaflow.io.fits_files import ENDINGS, FitsDocument, refuse_existing, replace_file, write_fits
from gammaflow.io.fits_record import RECORD
from gammaflow.io.fits_rows import GTI_HDU, read_gti
from gammaflow.io.flux_tables import from_table, to_table
from gammaflow.modeling import SpectralModel

HDU = "FLUXPOINTS"
_FITS_NAMES = (HDU, "TABLE", "")
_VALUES = ("DNDE", "E2DNDE", "FLUX", "EFLUX", "NORM")
_ECSV_KEY = "gammaflow"
_HDUS_CARD = "GFHDUS"
_AGAIN = "Get the file again: it was not copied whole"


@dataclass(frozen=True)
class _Record:
    """What the table does not say."""

    name: str
    points: int
    stat_type: str | None
    meta: dict[str, Any]
    columns: list[str]
    bounds: dict[str, list[float]]
    time_reference: str | None
    gti: list[list[float]]

    @classmethod
    def of(cls, dataset: FluxPointsDataset) -> _Record:
        """The record of a dataset."""
        gti, coords = dataset.gti, dataset.data.coords
        return cls(
            dataset.name,
            dataset.data_shape[0],
            dataset.data.attrs.get("stat_type"),
            dataset.meta,
            sorted(str(n) for n in dataset.data.data_vars if not str(n).startswith("gti")),
            {n: coords[n].values.tolist() for n in ("energy_min", "energy_max") if n in coords},
            None if gti is None else dataset.time_reference,
            [] if gti is None else [gti.start.tolist(), gti.stop.tolist()],
        )

    @classmethod
    def parse(cls, text: str, where: str) -> _Record:
        """The record that a text describes."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise CorruptFileError(
                f"the record of the dataset cannot be read ({error})", where=where, hint="Remove it"
            ) from error

    def applied_to(self, dataset: FluxPointsDataset, where: str) -> FluxPointsDataset:
        """The dataset that was written, from what the table gave."""
        if dataset.data_shape[0] != self.points:
            raise CorruptFileError(
                f"it has {dataset.data_shape[0]} points, {self.points} were written",
                where=where,
                hint=f"{_AGAIN}. If you took points out, remove the entry {_ECSV_KEY!r} of its header, too",
            )
        gti = None
        if self.time_reference is not None:
            gti = GTI(self.gti[0], self.gti[1], parse_reference(self.time_reference))
        columns = {n: dataset.array(n) for n in self.columns if n != "dnde"}
        return FluxPointsDataset.from_arrays(
            self.name, dataset.energy, dataset.dnde.values, gti=gti, meta=self.meta, stat_type=self.stat_type,
            **{n: np.array(b) for n, b in self.bounds.items()}, **columns,
        )  # fmt: skip


def write_flux_points(
    dataset: Dataset,
    path: str | Path,
    *,
    sed_type: str | None = None,
    reference: SpectralModel | None = None,
    overwrite: bool = False,
) -> int:
    """Write flux points as a GADF table.

    Parameters
    ----------
    dataset : FluxPointsDataset
        What to write.
    path : str or Path
        FITS when it ends on ``.fits`` or ``.fits.gz``, else ECSV.
    sed_type, reference
        See `gammaflow.io.flux_tables.to_table`.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    UnsupportedError
        For a dataset of another type, or when the SED type cannot be.
    StorageError
        When it cannot be written: something is there, no space, no permission.
    """
    if not isinstance(dataset, FluxPointsDataset):
        raise UnsupportedError(
            f"a {dataset.tag} is no table of flux points",
            where=str(path),
            hint="Choose a name that ends on .fits or .zarr",
        )
    path = Path(path)
    table = to_table(dataset, sed_type, reference)
    text = json.dumps(asdict(_Record.of(dataset)))
    if not str(path).endswith(ENDINGS):
        refuse_existing(path, overwrite)
        table.meta[_ECSV_KEY] = text
        buffer = io.StringIO()
        table.write(buffer, format="ascii.ecsv")
        content = buffer.getvalue().encode()
        replace_file(path, content)
        return len(content)
    column = fits.Column("RECORD", f"{len(text)}A", array=np.array([text.encode("ascii")]))
    rest = [fits.BinTableHDU.from_columns([column], name=RECORD)]
    if dataset.gti is not None:
        rest.insert(0, fits.BinTableHDU(dataset.gti.to_table(), name=GTI_HDU))
    points, primary = fits.BinTableHDU(table, name=HDU), fits.PrimaryHDU()
    # Not in the table's own header, which astropy copies with the table into other files
    primary.header[_HDUS_CARD] = (",".join(hdu.name for hdu in rest), "further extensions of this file")
    # The table is the first extension: it is what astropy, and with it Gammapy, reads
    return write_fits([primary, points, *rest], path, overwrite=overwrite)


def has_flux_points(document: FitsDocument) -> bool:
    """Whether a FITS file is one of flux points."""
    return _hdu_name(document) is not None


def _hdu_name(document: FitsDocument) -> str | None:
    """The extension of the flux points: by its name, or of an unusual name by its columns."""
    if HDU in document:
        return HDU
    for name in (*_FITS_NAMES, *sorted(document.names - set(_FITS_NAMES))):
        if name in document and document.is_table(name):
            table = document.table(name)
            values = any(v in table for v in _VALUES)
            if "E_REF" in table or (values and (name in _FITS_NAMES or "E_MIN" in table)):
                return name
    return None


def read_flux_points(
    path: str | Path | FitsDocument,
    *,
    sed_type: str | None = None,
    reference: SpectralModel | None = None,
    stat_type: str | None = None,
) -> FluxPointsDataset:
    """Read a table of flux points from FITS or ECSV.

    Parameters
    ----------
    path : str or Path
        FITS when it ends on ``.fits`` or ``.fits.gz``, else ECSV.
    sed_type, reference
        For tables of others, see `gammaflow.io.flux_tables.from_table`.
    stat_type : {"chi2", "distrib", "censored", "profile"}, optional
        Which statistic is used, see `FluxPointsDataset`.

    Raises
    ------
    MissingFileError, CorruptFileError
        When there is no such file, or it is damaged, or no table of flux points.
    MissingHduError, UnitError, DataError, UnsupportedError
        When a column is missing or has a unit of another kind, or the points have no errors, or cannot be used here.
    """
    if isinstance(path, FitsDocument) or str(path).endswith(ENDINGS):
        dataset = _read_fits(
            path if isinstance(path, FitsDocument) else FitsDocument(path), sed_type, reference
        )
    else:
        dataset = _read_ecsv(Path(path), sed_type, reference)
    if stat_type is not None:
        dataset.stat_type = stat_type
    return dataset


def _read_fits(
    document: FitsDocument, sed_type: str | None, reference: SpectralModel | None
) -> FluxPointsDataset:
    name = _hdu_name(document)
    if name is None:
        raise CorruptFileError(
            f"there is no table of flux points among {', '.join(sorted(document.names)) or 'no extensions'}",
            where=document.path,
            hint="Such a table has columns e_ref, or e_min and e_max, and dnde, e2dnde, flux, eflux or norm",
        )
    table = document.table(name)
    missing = [n for n in str(document.primary.get(_HDUS_CARD, "")).split(",") if n and n not in document]
    if missing:
        raise CorruptFileError(
            f"it is to hold {', '.join(missing)}, but does not: the file is truncated",
            where=document.path,
            hint=_AGAIN,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)  # what a unit is good for is told when it is needed
        plain = Table.read(table.to_hdu(), format="fits")
    where, stem = document.where(name), Path(document.path).name.split(".")[0]
    known = RECORD in document
    gti = None if known or GTI_HDU not in document else read_gti(document)
    dataset = from_table(plain, stem, where, sed_type=sed_type, reference=reference, gti=gti)
    if not known:
        return dataset
    column = document.table(RECORD).column("RECORD")
    text = str(column[0]) if len(column) else ""
    return _Record.parse(text, document.where(RECORD)).applied_to(dataset, where)


def _read_ecsv(path: Path, sed_type: str | None, reference: SpectralModel | None) -> FluxPointsDataset:
    where = str(path)
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError("there is no such file", where=where, hint="Check its name") from error
    except UnicodeDecodeError as error:
        raise CorruptFileError("it is no text", where=where, hint="ECSV is needed here") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
            table = Table.read(text.splitlines(), format="ascii.ecsv")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        # The readers of astropy raise subclasses of ValueError, of many kinds
        raise CorruptFileError(
            f"it cannot be read as ECSV ({str(error).splitlines()[0] if str(error) else error!r})",
            where=where,
            hint="The file is truncated or of another format",
        ) from error
    meta: Mapping[str, Any] = table.meta
    dataset = from_table(table, path.name.split(".")[0], where, sed_type=sed_type, reference=reference)
    record = meta.get(_ECSV_KEY)
    return dataset if record is None else _Record.parse(str(record), where).applied_to(dataset, where)
