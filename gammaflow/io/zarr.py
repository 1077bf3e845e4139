"""Datasets and partial sums as Zarr groups.

A group is complete or not there: it is written beside its place and then given its name. ``xr.open_zarr(path,
consolidated=False)`` shows what is inside, with coordinates and units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from gammaflow.datasets import Dataset, Partial, formats, schema
from gammaflow.errors import SchemaError
from gammaflow.io.encoding import decode, encode, group_attributes
from gammaflow.io.folders import GroupFiles, LocalFolders

_LOCAL = LocalFolders()


@dataclass(frozen=True)
class WriteReceipt:
    """What was written.

    Attributes
    ----------
    bytes : int
        Sum of the sizes of all files.
    files : int
        Number of files.
    digest : dict
        CRC32C of the chunk of each array, eight hex digits. Two datasets that the same version of blosc wrote
        are equal bit by bit when these are.
    """

    bytes: int
    files: int
    digest: dict[str, str] = field(default_factory=dict)


def write_dataset(
    dataset: Dataset, path: str | Path, *, overwrite: bool = False, store: GroupFiles = _LOCAL
) -> WriteReceipt:
    """Write a dataset as a Zarr group.

    Parameters
    ----------
    dataset : Dataset
        What to write, of any type, with its background model.
    path : str or Path
        Name of the group, by habit ending on ``.zarr``.
    overwrite : bool
        Replace what is there; it goes only when the new group is complete.
    store : GroupFiles
        Where groups are kept, the local file system by default.

    Raises
    ------
    SchemaError
        When the dataset does not follow the schema.
    StorageError
        When it cannot be written: something is there, no space, no permission.
    """
    data = dataset.to_xarray()
    schema.check(data, where=f"dataset {dataset.name}")
    return _write(data, Path(path), overwrite, store)


def read_dataset(path: str | Path, *, store: GroupFiles = _LOCAL) -> Any:
    """Read a dataset that `write_dataset` wrote, whole, into memory; of the type that was written.

    Raises
    ------
    MissingFileError
        When there is none.
    CorruptFileError
        When the group is not finished, or damaged.
    SchemaError
        When it is no dataset, or of another version of the schema.
    """
    return Dataset.from_xarray(_read(Path(path), store, tuple(schema.LAYOUTS)), where=str(path))


def write_partial(
    partial: Partial, path: str | Path, *, overwrite: bool = False, store: GroupFiles = _LOCAL
) -> WriteReceipt:
    """Write partial sums as a Zarr group, bit by bit. Parameters and errors as for `write_dataset`."""
    return _write(partial.to_xarray(), Path(path), overwrite, store)


def read_partial(path: str | Path, *, store: GroupFiles = _LOCAL) -> Partial:
    """Read partial sums that `write_partial` wrote. Errors as for `read_dataset`."""
    return Partial.from_xarray(_read(Path(path), store, ("Partial",)), where=str(path))


def read_digest(path: str | Path, *, store: GroupFiles = _LOCAL) -> dict[str, str]:
    """CRC32C of the chunk of each array of a group, as the receipt of its writing has it."""
    return dict(group_attributes(store.get(Path(path), only="zarr.json"), str(path)).get("crc32c", {}))


def _write(data: xr.Dataset, path: Path, overwrite: bool, store: GroupFiles) -> WriteReceipt:
    group = encode(data)
    store.put(path, group.files, overwrite=overwrite)
    return WriteReceipt(sum(len(f) for f in group.files.values()), len(group.files), dict(group.digest))


def _read(path: Path, store: GroupFiles, kinds: tuple[str, ...]) -> xr.Dataset:
    files = store.get(path)
    attributes = group_attributes(files, str(path))
    # Looked at first: another version may say everything else in another way.
    version, kind = attributes.get("schema_version"), attributes.get("dataset_type")
    issues = []
    if version != schema.SCHEMA_VERSION:
        issues.append(schema.version_issue(version))
    if kind not in kinds:
        issues.append(f"dataset type {kind!r} is not {' or '.join(kinds)}")
    if issues:
        raise SchemaError(
            issues,
            where=str(path),
            hint="Read it with the version of gammaflow that wrote it, or write it again",
        )
    return decode(files, str(path))


formats.register(
    ".zarr", read_dataset, lambda dataset, path, overwrite: write_dataset(dataset, path, overwrite=overwrite)
)
