"""Which format a FITS file is of, and the endings that stand for the formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gammaflow.datasets import Dataset, FluxPointsDataset, formats
from gammaflow.io.fits_files import ENDINGS, FitsDocument
from gammaflow.io.flux_files import has_flux_points, read_flux_points, write_flux_points
from gammaflow.io.gadf import from_hdulist, read_gadf, to_hdulist, write_gadf
from gammaflow.io.ogip import is_ogip, read_ogip, write_ogip


def read_fits_dataset(path: str | Path) -> Any:
    """Read a dataset from FITS: an OGIP spectrum, flux points, or one file in the GADF sky-map format.

    Errors as for `read_ogip`, `read_flux_points` and `read_gadf`.
    """
    document = FitsDocument(path)
    if is_ogip(document):
        return read_ogip(document)
    return read_flux_points(document) if has_flux_points(document) else read_gadf(document)


def write_fits_dataset(dataset: Dataset, path: str | Path, *, overwrite: bool = False) -> int:
    """Write a dataset as FITS: flux points as a GADF table, anything else in the GADF sky-map format.

    Parameters and errors as for `write_flux_points` and `write_gadf`.
    """
    write = write_flux_points if isinstance(dataset, FluxPointsDataset) else write_gadf
    return write(dataset, path, overwrite=overwrite)


formats.register_hdus(from_hdulist, to_hdulist)
for ending in ENDINGS:
    formats.register(
        ending,
        read_fits_dataset,
        lambda dataset, path, overwrite: write_fits_dataset(dataset, path, overwrite=overwrite),
    )
formats.register(
    ".pha", read_fits_dataset, lambda dataset, path, overwrite: write_ogip(dataset, path, overwrite=overwrite)
)
formats.register(
    ".ecsv",
    read_flux_points,
    lambda dataset, path, overwrite: write_flux_points(dataset, path, overwrite=overwrite),
)
