"""The pair ``datasets.yaml`` and ``models.yaml``: a collection of datasets with its models, as Gammapy has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gammaflow.config import expand_path
from gammaflow.datasets import Dataset, Datasets
from gammaflow.errors import CorruptFileError, MissingFileError
from gammaflow.io.fits_files import refuse_existing, replace_file
from gammaflow.modeling import Models

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
    for number, entry in enumerate(entries):
        missing = [k for k in ("name", "type", "filename") if not isinstance(entry, dict) or k not in entry]
        if missing:
            raise CorruptFileError(f"entry {number} has no {', '.join(missing)}", where=str(path), hint=_HINT)
    return [{k: str(e[k]) for k in ("name", "type", "filename")} for e in entries]


def _located(entry: dict[str, str], path: Path) -> str:
    beside = path.parent / entry["filename"]
    return str(beside.absolute() if beside.exists() else expand_path(entry["filename"]))


def write_datasets(
    datasets: Datasets,
    path: str | Path,
    path_models: str | Path | None = None,
    *,
    ending: str = ".fits",
    overwrite: bool = False,
) -> list[Path]:
    """Write datasets, each into a file named after it, and a YAML file that lists them.

    Parameters
    ----------
    datasets : Datasets
        What to write.
    path : str or Path
        The list; the datasets are written beside it.
    path_models : str or Path, optional
        Write the models of all datasets there, with their covariance.
    ending : str
        Format of the datasets: ``.fits``, ``.fits.gz``, ``.zarr``.
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
    """
    path = expand_path(str(path))
    refuse_existing(path, overwrite)
    entries = [dataset.to_dict(f"{dataset.name.replace('/', '_')}{ending}") for dataset in datasets]
    files = [path.parent / entry["filename"] for entry in entries]
    for file in files:
        refuse_existing(file, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    for dataset, file in zip(datasets, files, strict=True):
        dataset.write(file, overwrite=overwrite)
    if path_models is not None:
        datasets.models.write(path_models, overwrite=overwrite)
        files.append(Path(path_models))
    replace_file(path, yaml.safe_dump({"datasets": entries}, sort_keys=False).encode())
    return [*files, path]
