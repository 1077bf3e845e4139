"""Datasets from one format to another."""

from __future__ import annotations

from pathlib import Path

from gammaflow.datasets import Dataset
from gammaflow.errors import UnsupportedError
from gammaflow.io.datasets_file import read_datasets, write_datasets
from gammaflow.io.ogip import write_ogip

_LISTS = (".yaml", ".yml")


def convert(
    src: str | Path, dst: str | Path, *, ending: str = ".fits", ogip: bool = False, overwrite: bool = False
) -> list[Path]:
    """Read a dataset in one format and write it in another.

    Parameters
    ----------
    src, dst : str or Path
        The endings say the formats: ``.zarr``, ``.fits`` and ``.fits.gz`` (GADF sky maps; read also OGIP),
        ``.pha`` (OGIP). Or two lists of datasets, ``.yaml``.
    ending : str
        Of lists: the format of the datasets that are written beside ``dst``.
    ogip : bool
        Write an ON/OFF spectrum in the OGIP formats whatever the ending of ``dst``.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    list of Path
        What was written; of a spectrum in the OGIP formats the PHA file.

    Raises
    ------
    UnsupportedError
        When an ending is not known, or a dataset has no place in the format.
    """
    source, target = Path(src), Path(dst)
    if source.resolve() == target.resolve():
        raise UnsupportedError(
            "source and destination are the same", where=str(src), hint="Choose another name"
        )
    lists = [p.suffix in _LISTS for p in (source, target)]
    if any(lists):
        if not all(lists):
            raise UnsupportedError(
                "a list of datasets and a single one",
                where=f"{src} to {dst}",
                hint="Give two names that end on .yaml, or none",
            )
        return write_datasets(read_datasets(source), target, ending=ending, overwrite=overwrite)
    dataset = Dataset.read(source)
    if ogip:
        write_ogip(dataset, target, overwrite=overwrite)
    else:
        dataset.write(target, overwrite=overwrite)
    return [target]
