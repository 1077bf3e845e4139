"""Datasets from one format to another: a single one, a list of them, a whole run; each with its models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gammaflow.config import expand_path
from gammaflow.datasets import Dataset
from gammaflow.errors import MissingFileError, UnsupportedError
from gammaflow.io.datasets_file import models_beside, read_datasets, write_datasets, write_models
from gammaflow.io.fits_files import refuse_existing, replace_file
from gammaflow.io.ogip import write_ogip
from gammaflow.modeling import Models

_LISTS = (".yaml", ".yml")
_GROUP = ".zarr"
#: Rooms of a run folder that hold datasets, see `gammaflow.dag.run_folder`.
_ROOMS = ("stacked", "observations")
_FITS, _MODELS, _COVARIANCE, _RESULT = "fits", "models.yaml", "models_covariance.dat", "result.json"


def convert(
    src: str | Path,
    dst: str | Path,
    *,
    models: str | Path | None = None,
    ending: str = ".fits",
    ogip: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Read datasets in one format and write them in another, with their models.

    =====================  ===============  ==========================================================================
    ``src``                ``dst``          what is written
    =====================  ===============  ==========================================================================
    a dataset              a dataset        it; its background model, too, in ``<stem>_models.yaml`` where the format
                                            has no place for it that others know
    a list, ``.yaml``      a list           the list, its datasets beside it, and their models
    the folder of a run    a folder         ``stacked/`` and ``observations/``, each a list ``datasets.yaml`` with its
                                            ``models.yaml``; ``fits/<name>/`` with ``models.yaml``, the covariance and
                                            ``result.json`` of each fit
    =====================  ===============  ==========================================================================

    Of a list, the file of models has the name of the list with "models" for "datasets" (``crab_datasets.yaml``,
    ``crab_models.yaml``), or with ``_models`` at the end. Maps that models name (templates) stay where they are.

    Parameters
    ----------
    src, dst : str or Path
        The endings of datasets say the formats: ``.zarr``, ``.fits`` and ``.fits.gz`` (GADF sky maps and flux points;
        read also OGIP), ``.pha`` (OGIP), ``.ecsv`` (flux points).
    models : str or Path, optional
        The file of models of a list; that beside it, if there is one, when not given.
    ending : str
        Of lists and runs: the format of the datasets that are written.
    ogip : bool
        Write ON/OFF spectra in the OGIP formats whatever the ending of ``dst``.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    list of Path
        What was written; of a spectrum in the OGIP formats the PHA file.

    Raises
    ------
    MissingFileError
        When ``src`` is not there, or a folder without a run.
    UnsupportedError
        When an ending is not known, or a dataset has no place in the format.
    """
    source, target = expand_path(str(src)), expand_path(str(dst))
    if source.resolve() == target.resolve():
        raise UnsupportedError(
            "source and destination are the same", where=str(src), hint="Choose another name"
        )
    if source.is_dir() and source.suffix != _GROUP:
        return _convert_run(source, target, ending, ogip, overwrite)
    lists = [p.suffix in _LISTS for p in (source, target)]
    if any(lists):
        if not all(lists):
            raise UnsupportedError(
                "a list of datasets and a single one",
                where=f"{src} to {dst}",
                hint="Give two names that end on .yaml, or none",
            )
        beside = models_beside(source)
        found = models or (beside if beside.exists() else None)
        datasets = read_datasets(source, found)
        to = models_beside(target) if len(datasets.models) else None
        return write_datasets(datasets, target, to, ending=ending, ogip=ogip, overwrite=overwrite)
    dataset = Dataset.read(source)
    background = None if target.suffix == _GROUP else dataset.background_model
    written = [target]
    if background is not None:
        written.append(target.with_name(f"{target.name.split('.')[0]}_models.yaml"))
        refuse_existing(written[1], overwrite)
    if ogip:
        write_ogip(dataset, target, overwrite=overwrite)
    else:
        dataset.write(target, overwrite=overwrite)
    if background is not None:
        Models([background]).write(written[1], overwrite=overwrite)
    return written


def _convert_run(run: Path, target: Path, ending: str, ogip: bool, overwrite: bool) -> list[Path]:
    """All datasets and fits of a run; a dataset is there when its receipt is."""
    rooms = {
        room: [g for g in sorted((run / room).glob(f"*{_GROUP}")) if g.with_suffix(".json").exists()]
        for room in _ROOMS
    }
    if not any(rooms.values()):
        raise MissingFileError(
            "there is no finished dataset in this folder",
            where=str(run),
            hint="Give the folder of a run, a list of datasets (.yaml) or a dataset (.zarr, .fits, ...)",
        )
    if target.suffix in (*_LISTS, _GROUP, ".fits", ".gz", ".pha"):
        raise UnsupportedError(
            "a run and a single file",
            where=f"{run} to {target}",
            hint="Give the name of a folder for the run",
        )
    written: list[Path] = []
    for room, groups in rooms.items():
        if groups:
            written += _convert_room(groups, target / room, ending, ogip, overwrite)
    for fitted in sorted((run / _FITS).glob(f"*/{_MODELS}")):
        folder = target / _FITS / fitted.parent.name
        for file in (folder / _MODELS, folder / _RESULT):
            refuse_existing(file, overwrite)
        # Read and written, not copied: names of templates stand relative to the file
        has_covariance = fitted.with_name(_COVARIANCE).exists()
        Models.read(fitted).write(folder / _MODELS, overwrite=overwrite, write_covariance=has_covariance)
        written.append(folder / _MODELS)
        if (result := fitted.with_name(_RESULT)).exists():
            replace_file(folder / _RESULT, result.read_bytes())
            written.append(folder / _RESULT)
    return written


def _convert_room(groups: list[Path], target: Path, ending: str, ogip: bool, overwrite: bool) -> list[Path]:
    """Datasets one after the other: a survey has more observations than fit into memory. Their models are small."""
    models: list[Any] = []

    def each() -> Iterator[Dataset]:
        for group in groups:
            dataset = Dataset.read(group)
            models.extend(dataset.all_models)
            yield dataset

    refuse_existing(target / _MODELS, overwrite)
    written = write_datasets(each(), target / "datasets.yaml", ending=ending, ogip=ogip, overwrite=overwrite)
    if models:
        write_models(models, target / _MODELS, overwrite=overwrite)
        written.append(target / _MODELS)
    return written
