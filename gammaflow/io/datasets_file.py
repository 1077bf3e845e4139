"""The pair ``datasets.yaml`` and ``models.yaml``: a collection of datasets with its models, as Gammapy has it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from gammaflow.config import expand_path
from gammaflow.datasets import Dataset, DatasetNameError, Datasets, SpectrumDatasetOnOff, formats
from gammaflow.errors import CorruptFileError, MissingFileError
from gammaflow.io.fits_files import refuse_existing, replace_file
from gammaflow.modeling import Models

#: A table of the covariance of more parameters would take minutes to write.
_MOST_IN_COVARIANCE: Final = 300

_NUMBER: Final = "number_of_datasets"
_HINT = "Such a file holds 'datasets:', and below it a list of entries with 'name', 'type' and 'filename'"


def read_datasets(path: str | Path, path_models: str | Path | None = None) -> Datasets:
    """Read the datasets that a YAML file lists.

    Parameters
    ----------
    path : str or Path
        The list. Files are looked for beside it first; ``$GAMMAPY_DATA`` and the like are understood.
    path_models : str or Path, optional
        A file of models, each of which goes to the datasets that it is for.

    Raises
    ------
    MissingFileError
        When the list, or a file that it names, is not there.
    CorruptFileError
        When it is no such list.
    SchemaError
        When a file holds another type than the list says.
    """
    path = expand_path(str(path))
    entries = _entries(path)
    datasets = Datasets(Dataset.from_dict({**e, "filename": _located(e, path)}, path.parent) for e in entries)
    if path_models is not None:
        datasets.models = Models.read(path_models)
    return datasets


def models_beside(path: Path) -> Path:
    """The file of models that goes with a list: with "models" for "datasets" in its name, or ``_models`` at the end."""
    stem = path.stem.replace("datasets", "models") if "datasets" in path.stem else f"{path.stem}_models"
    return path.with_name(stem + path.suffix)


def _entries(path: Path) -> list[dict[str, str]]:
    try:
        content: Any = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise MissingFileError("there is no such file", where=str(path), hint="Check its name") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"it is no YAML ({error})", where=str(path), hint=_HINT) from error
    entries = content.get("datasets") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise CorruptFileError("it lists no datasets", where=str(path), hint=_HINT)
    expected = content.get(_NUMBER, len(entries))
    if expected != len(entries):
        raise CorruptFileError(
            f"it lists {len(entries)} datasets, {expected} were written: the file is truncated",
            where=str(path),
            hint=f"Get the file again; if you changed the list, change {_NUMBER!r}, too, or remove it",
        )
    for number, entry in enumerate(entries):
        missing = [k for k in ("name", "type", "filename") if not isinstance(entry, dict) or k not in entry]
        if missing:
            raise CorruptFileError(f"entry {number} has no {', '.join(missing)}", where=str(path), hint=_HINT)
    return [{k: str(e[k]) for k in ("name", "type", "filename")} for e in entries]


def _located(entry: dict[str, str], path: Path) -> str:
    beside = path.parent / entry["filename"]
    return str(beside.absolute() if beside.exists() else expand_path(entry["filename"]))


def write_datasets(
    datasets: Iterable[Dataset],
    path: str | Path,
    path_models: str | Path | None = None,
    *,
    ending: str = ".fits",
    ogip: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write datasets, each into a file named after it, and a YAML file that lists them.

    Parameters
    ----------
    datasets : Datasets, or iterable of Dataset
        What to write. One that is made as it goes is written as it goes: no two datasets need be in memory.
    path : str or Path
        The list; the datasets are written beside it.
    path_models : str or Path, optional
        Write the models of all datasets there; with their covariance, unless that is one of more than 300 parameters.
    ending : str
        Format of the datasets: ``.fits``, ``.fits.gz``, ``.zarr``.
    ogip : bool
        Write ON/OFF spectra in the OGIP formats (``.pha``) whatever the ending.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    list of Path
        What was written, the list last.

    Raises
    ------
    StorageError
        When something is there already, or it cannot be written.
    DatasetNameError
        When two datasets have the same name, or names that give the same file.
    """
    path = expand_path(str(path))
    models_path = None if path_models is None else expand_path(str(path_models))
    for file in (path, *([] if models_path is None else [models_path])):
        refuse_existing(file, overwrite)
    if isinstance(datasets, Datasets):  # all names are known, so nothing is written if one of them cannot be
        for dataset in datasets:
            refuse_existing(path.parent / _file_name(dataset, ending, ogip), overwrite)
    entries: list[dict[str, str]] = []
    files: list[Path] = []
    models: list[Any] = []
    for dataset in datasets:
        entry = dataset.to_dict(_file_name(dataset, ending, ogip))
        if entry["filename"] in {e["filename"] for e in entries}:
            raise DatasetNameError(
                f"two datasets would be written to {entry['filename']}",
                where=str(path),
                hint="Give every dataset a name of its own",
            )
        file = path.parent / entry["filename"]
        refuse_existing(file, overwrite)
        file.parent.mkdir(parents=True, exist_ok=True)
        dataset.write(file, overwrite=overwrite)
        entries.append(entry)
        files.append(file)
        if models_path is not None:
            models += dataset.all_models
    if models_path is not None:
        write_models(models, models_path, overwrite=overwrite)
        files.append(models_path)
    # The number comes first: of a list that is cut off between two entries nothing else would tell
    content = {_NUMBER: len(entries), "datasets": entries}
    replace_file(path, yaml.safe_dump(content, sort_keys=False).encode())
    return [*files, path]


def write_models(models: Iterable[Any], path: Path, *, overwrite: bool) -> None:
    """Write models, each once, with their covariance unless it is one of too many parameters."""
    each = Models({id(model): model for model in models}.values())
    few = len(each.parameters) <= _MOST_IN_COVARIANCE
    each.write(path, overwrite=overwrite, write_covariance=few)


def _file_name(dataset: Dataset, ending: str, ogip: bool) -> str:
    kept = ".pha" if ogip and isinstance(dataset, SpectrumDatasetOnOff) else ending
    return f"{dataset.name.replace('/', '_')}{kept}"


formats.register_list(read_datasets, write_datasets)
