"""Files: datasets and partial sums on disk."""

from gammaflow.io.conversion import convert
from gammaflow.io.datasets_file import read_datasets, write_datasets
from gammaflow.io.fits_formats import read_fits_dataset
from gammaflow.io.flux_files import read_flux_points, write_flux_points
from gammaflow.io.folders import GroupFiles, LocalFolders
from gammaflow.io.gadf import read_gadf, write_gadf
from gammaflow.io.ogip import read_ogip, write_ogip
from gammaflow.io.zarr import (
    WriteReceipt,
    read_dataset,
    read_digest,
    read_partial,
    write_dataset,
    write_partial,
)

__all__ = [
    "GroupFiles",
    "LocalFolders",
    "WriteReceipt",
    "convert",
    "read_dataset",
    "read_datasets",
    "read_digest",
    "read_fits_dataset",
    "read_flux_points",
    "read_gadf",
    "read_ogip",
    "read_partial",
    "write_dataset",
    "write_datasets",
    "write_flux_points",
    "write_gadf",
    "write_ogip",
    "write_partial",
]
