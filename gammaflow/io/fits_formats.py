"""Which format a FITS file is of, and the endings that stand for the formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gammaflow.datasets import formats
from gammaflow.io.fits_files import ENDINGS, FitsDocument
from gammaflow.io.gadf import read_gadf, write_gadf
from gammaflow.io.ogip import is_ogip, read_ogip, write_ogip


def read_fits_dataset(path: str | Path) -> Any:
    """Read a dataset of counts from FITS: a spectrum of the OGIP format, or one file in the GADF sky-map format.

    Errors as for `read_ogip` and `read_gadf`.
    """
    document = FitsDocument(path)
    return read_ogip(document) if is_ogip(document) else read_gadf(document)


for ending in ENDINGS:
    formats.register(
        ending,
        read_fits_dataset,
        lambda dataset, path, overwrite: write_gadf(dataset, path, overwrite=overwrite),
    )
formats.register(
    ".pha", read_fits_dataset, lambda dataset, path, overwrite: write_ogip(dataset, path, overwrite=overwrite)
)
