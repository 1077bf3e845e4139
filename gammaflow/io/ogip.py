"""ON/OFF spectra in the OGIP formats: a PHA file, and beside it those of background, effective area and matrix.

Source: OGIP/92-007 (Arnaud et al.), the format of spectra; ARF and RMF as in `gammaflow.io.ogip_response`. Of a
background's relative exposure the format has alpha = (EXPOSURE BACKSCAL AREASCAL) of ON over that of OFF.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data.fits_table import FitsTable
from gammaflow.datasets import Dataset, SpectrumDatasetGeometry, SpectrumDatasetOnOff
from gammaflow.datasets.labelling import geometry_from_dict
from gammaflow.errors import (
    CorruptFileError,
    DataError,
    GeometryError,
    MissingHduError,
    UnitError,
    UnsupportedError,
)
from gammaflow.io.fits_files import ENDINGS, FitsDocument, refuse_existing, write_fits
from gammaflow.io.fits_maps import PURE_NUMBERS, read_region, region_hdus
from gammaflow.io.fits_record import Record
from gammaflow.io.fits_rows import read_gti, read_observations, row_hdus, single_observation
from gammaflow.io.gadf import as_stored
from gammaflow.io.off_regions import off_meta, off_regions
from gammaflow.io.ogip_response import arf_hdu, ebounds_hdu, read_arf, read_bounds, read_rmf, rmf_hdu
from gammaflow.maps import MapAxis

_NO_FILE = ("", "NONE")


@dataclass(frozen=True)
class OgipFiles:
    """The files of a spectrum: ``a.pha``, ``a.bkg``, ``a.arf``, ``a.rmf``; or ``a.fits``, ``a_bkg.fits``, ..."""

    pha: Path
    bkg: Path
    arf: Path
    rmf: Path

    @classmethod
    def beside(cls, pha: str | Path) -> OgipFiles:
        """The files that go with a PHA file to be written."""
        path = Path(pha)
        ending = next((e for e in ENDINGS if path.name.endswith(e)), "")
        if ending:
            stem = path.name.removesuffix(ending)
            others = [path.with_name(f"{stem}_{kind}{ending}") for kind in ("bkg", "arf", "rmf")]
        else:
            others = [path.with_suffix(f".{kind}") for kind in ("bkg", "arf", "rmf")]
        return cls(path, *others)


def write_ogip(dataset: Dataset, path: str | Path, *, overwrite: bool = False) -> int:
    """Write an ON/OFF spectrum as PHA, BKG, ARF and RMF.

    Parameters
    ----------
    dataset : SpectrumDatasetOnOff
        With exposure, acceptance and livetime, its energy dispersion as a kernel. OFF regions in its ``meta`` go into
        the extension ``REGION`` of the BKG file.
    path : str or Path
        The PHA file; the others are named after it, see `OgipFiles`. There is no BKG file without OFF counts, and
        no RMF file without energy dispersion.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    UnsupportedError
        When the dataset is of another type, or has no place in the formats.
    StorageError
        When it cannot be written: something is there, no space, no permission.
    """
    if not isinstance(dataset, SpectrumDatasetOnOff):
        raise _no_place(f"a {dataset.tag}", path)
    counts, acceptance, exposure = (dataset.array(n) for n in ("counts", "acceptance", "exposure"))
    if counts is None or acceptance is None or exposure is None:
        raise _no_place("a spectrum without counts, acceptance or exposure", path)
    if dataset.geometry.migra_axis is not None:
        raise _no_place("an energy dispersion over migra", path)
    livetime = dataset.livetime
    if not (np.isfinite(livetime) and livetime > 0):
        raise _no_place(f"a livetime of {livetime} s", path)
    files, edisp, off = OgipFiles.beside(path), dataset.array("edisp"), dataset.array("counts_off")
    used = [
        files.pha,
        files.arf,
        *([files.rmf] if edisp is not None else []),
        *([files.bkg] if off is not None else []),
    ]
    for file in used:
        refuse_existing(file, overwrite)
    geometry = dataset.geometry
    weight = dataset.array("edisp_exposure")
    same = weight is not None and np.array_equal(weight, exposure)
    arf = arf_hdu(geometry.energy_axis_true, exposure.astype(np.float64), livetime, None if same else weight)
    size = write_fits([fits.PrimaryHDU(), arf], files.arf, overwrite=overwrite)
    bounds = ebounds_hdu(geometry.energy_axis)
    if edisp is not None:
        hdus = [fits.PrimaryHDU(), rmf_hdu(geometry.energy_axis_true, edisp), bounds]
        size += write_fits(hdus, files.rmf, overwrite=overwrite)
    if off is not None:
        table = _spectrum_hdu(dataset, "BKG", off, dataset.array("acceptance_off"), files)
        region = off_regions(dataset)
        shapes = [] if region is None else region_hdus(region, "REGION")
        size += write_fits([fits.PrimaryHDU(), table, bounds.copy(), *shapes], files.bkg, overwrite=overwrite)
    table = _spectrum_hdu(dataset, "TOTAL", counts, acceptance, files)
    rows = [*region_hdus(geometry.geom, "REGION"), *row_hdus(dataset)]
    record = Record.of(dataset, rows).to_hdu()
    # Last: who finds a spectrum finds all that goes with it.
    hdus = [fits.PrimaryHDU(), table, bounds.copy(), record, *rows]
    return size + write_fits(hdus, files.pha, overwrite=overwrite)


def _no_place(found: str, path: str | Path) -> UnsupportedError:
    return UnsupportedError(
        f"{found} has no place in the OGIP formats",
        where=str(path),
        hint="Write it to a name that ends on .fits or .zarr",
    )


def _spectrum_hdu(
    dataset: SpectrumDatasetOnOff,
    what: str,
    counts: NDArray[Any],
    acceptance: NDArray[Any] | None,
    files: OgipFiles,
) -> fits.BinTableHDU:
    safe, fit = dataset.array("mask_safe"), dataset.array("mask_fit")
    bad = np.zeros(counts.size, dtype=np.int16) if safe is None else (~safe).astype(np.int16)
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(counts.size, dtype=np.int16)),
        fits.Column("COUNTS", "J", array=counts),
        fits.Column("QUALITY", "I", array=bad),
    ]
    if acceptance is not None:
        columns.append(fits.Column("BACKSCAL", "E", array=acceptance))
    if fit is not None and what == "TOTAL":
        columns.append(fits.Column("MASK_FIT", "L", array=fit))
    hdu = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    hdu.header.update(
        HDUCLASS="OGIP", HDUCLAS1="SPECTRUM", HDUCLAS2=what, HDUCLAS3="COUNT", HDUCLAS4="TYPE:I", HDUVERS="1.2.1",
        TELESCOP="unknown", INSTRUME="unknown", FILTER="None", CHANTYPE="PHA", DETCHANS=counts.size,
        POISSERR=True, EXPOSURE=dataset.livetime, AREASCAL=1.0, GROUPING=0, CORRFILE="NONE", CORRSCAL=1.0,
        OBS_ID=dataset.name, ANCRFILE=files.arf.name,
    )  # fmt: skip
    # Others take any card for the name of a file.
    if dataset.edisp is not None:
        hdu.header["RESPFILE"] = files.rmf.name
    if dataset.counts_off is not None:
        hdu.header["BACKFILE"] = files.bkg.name
    return hdu


def is_ogip(document: FitsDocument) -> bool:
    """Whether a file is a spectrum of the OGIP format."""
    return "SPECTRUM" in document and str(document.header("SPECTRUM").get("HDUCLASS", "")).strip() == "OGIP"


def read_ogip(path: str | Path | FitsDocument) -> SpectrumDatasetOnOff:
    """Read an ON/OFF spectrum from a PHA file and those that it names, which are looked for beside it.

    Raises
    ------
    MissingFileError, CorruptFileError
        When a file is not there, or is damaged.
    MissingHduError
        When a file lacks a table, column or card.
    UnitError, GeometryError, UnsupportedError
        When units are of another kind, or energies do not agree, or something cannot be used here.
    """
    document = path if isinstance(path, FitsDocument) else FitsDocument(path)
    table = document.table("SPECTRUM")
    record = Record.read(document)
    if record is not None:
        record.require_hdus(document)
    known = None if record is None else geometry_from_dict(record.geometry)
    response = _companion(table, "RESPFILE", document)
    bounds = document if "EBOUNDS" in document or response is None else response
    energy = _exact(read_bounds(bounds.table("EBOUNDS"), "E_MIN", "E_MAX", "energy"), known, "energy_axis")
    arf = _companion(table, "ANCRFILE", document)
    if arf is None:
        raise MissingHduError(
            "the card ANCRFILE names no effective area",
            where=table.where,
            hint="A spectrum can only be modelled with one: name it in the header",
        )
    true, area, weight = read_arf(arf)
    true = _exact(true, known, "energy_axis_true")
    livetime = table.number("EXPOSURE")
    exposure = area * livetime
    counts = _counts("counts", table, energy)
    arrays: dict[str, Any] = {"counts": counts, "exposure": exposure, "acceptance": _scale(table)}
    arrays["mask_safe"] = table.column("QUALITY") == 0 if "QUALITY" in table else _card_quality(table)
    if "MASK_FIT" in table:
        arrays["mask_fit"] = table.column("MASK_FIT")
    if response is not None:
        arrays["edisp"] = read_rmf(response, true, energy)
        arrays["edisp_exposure"] = exposure if weight is None else weight
    geom, meta = read_region(document, "REGION"), {}
    off = _companion(table, "BACKFILE", document)
    if off is not None:
        meta = off_meta(geom, read_region(off, "REGION"))
        measured = off.table("SPECTRUM")
        if "EBOUNDS" in off:
            off_bounds = off.table("EBOUNDS")
            difference = read_bounds(off_bounds, "E_MIN", "E_MAX", "energy").difference(energy)
            if difference is not None:
                raise GeometryError(
                    f"its energies are not those of the spectrum: {difference}",
                    where=off_bounds.where,
                    hint="ON and OFF counts need the same channels",
                )
        arrays["counts_off"] = _counts("counts_off", measured, energy)
        # The ratio is one where both were taken at the same time.
        arrays["acceptance_off"] = _scale(measured) * (_exposure(measured, livetime) / livetime)
    if isinstance(known, SpectrumDatasetGeometry) and known.geom.region_difference(geom) is None:
        geom = known.geom.to_image()
    name = record.name if record else str(table.header.get("OBS_ID", Path(document.path).stem))
    gti = read_gti(document, record.time_reference if record else None)
    observations = read_observations(document)
    if record is None:
        observations = single_observation(observations, name, livetime, gti)
    return SpectrumDatasetOnOff.from_arrays(
        SpectrumDatasetGeometry(geom.to_cube([energy]), true),
        name,
        gti=gti,
        observations=observations,
        livetime=record.livetime if record else livetime,
        meta=record.meta if record else meta,
        **arrays,
    )


def _exact(found: MapAxis, known: Any, name: str) -> MapAxis:
    """The axis with all its digits, where the record has the same."""
    axis = getattr(known, name, None)
    return axis if axis is not None and axis == found else found


def _companion(table: FitsTable, card: str, document: FitsDocument) -> FitsDocument | None:
    name = str(table.header.get(card, "")).strip()
    if name.upper() in _NO_FILE:
        return None
    try:
        return FitsDocument(Path(document.path).parent / name)
    except DataError as error:
        raise error.at(f"{card} of {document.path}") from None


def _counts(name: str, table: FitsTable, energy: MapAxis) -> NDArray[Any]:
    if "COUNTS" not in table and "RATE" in table:
        raise UnsupportedError(
            "it holds rates, not counts", where=table.where, hint="Only counts have the statistic of counts"
        )
    values = np.asarray(table.column("COUNTS"))
    unit = table.unit("COUNTS") or ""
    if unit not in PURE_NUMBERS:
        raise UnitError(
            f"the unit of COUNTS is {unit!r}, a pure number is needed",
            where=f"{table.where}.COUNTS",
            hint="Correct TUNIT in the file",
        )
    if values.dtype.kind not in "iuf":
        raise CorruptFileError(f"counts of type {values.dtype}", where=table.where, hint="Check the file")
    if values.shape != (energy.nbin,):
        raise CorruptFileError(
            f"{values.shape[0]} channels, the energies have {energy.nbin}",
            where=table.where,
            hint="Spectrum and energies do not belong together",
        )
    return as_stored(name, values, table.where)


def _scale(table: FitsTable) -> NDArray[np.float64]:
    """BACKSCAL AREASCAL of each channel; either is a column or a card."""
    scale = np.ones(len(table))
    for name in ("BACKSCAL", "AREASCAL"):
        if name in table:
            scale = scale * np.asarray(table.column(name), dtype=np.float64)
        elif name in table.header or name == "BACKSCAL":
            scale = scale * table.number(name)
    return scale


def _exposure(table: FitsTable, default: float) -> float:
    return table.number("EXPOSURE") if "EXPOSURE" in table.header else default


def _card_quality(table: FitsTable) -> NDArray[np.bool_]:
    """Without a column, the card QUALITY stands for all channels; 0, and none, is good."""
    return np.full(len(table), int(table.header.get("QUALITY", 0)) == 0)
