"""What a run has made, read from its folder; and datasets as files in a folder of the user's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import status
from gammaflow.datasets import CountsDataset, Datasets
from gammaflow.errors import ConfigError, RunError
from gammaflow.io import read_dataset


def read_results(folder: RunFolder, stage: str) -> Datasets:
    """The datasets that a stage of a run has made.

    Parameters
    ----------
    folder : RunFolder
    stage : {"reduce", "finish"}
        Those of the observations, or what they are stacked to: one, or one a group.

    Raises
    ------
    RunError
        There are none yet.
    """
    standing = status(folder)
    receipts = standing.stacked if stage == "finish" else standing.observations
    if not receipts:
        raise RunError(
            "there is no stacked dataset" if stage == "finish" else "no observation is reduced",
            where=str(folder.path),
            hint="Run it first: Analysis.get_datasets()",
        )
    return Datasets(read_dataset(folder.path / receipt.group) for receipt in receipts)


def read_stacked(folder: RunFolder) -> CountsDataset:
    """The one stacked dataset.

    Raises
    ------
    RunError
        There is none yet, or there is one a group.
    """
    found = read_results(folder, "finish")
    if len(found) != 1:
        raise RunError(
            f"there are {len(found)} stacked datasets: {', '.join(found.names)}",
            where=str(folder.path),
            hint="Runs with flow.group_by have one a group: use Analysis.datasets",
        )
    dataset: CountsDataset = found[0]
    return dataset


def write_folder(folder: Path, datasets: Iterable[CountsDataset], overwrite: bool) -> None:
    """Write each dataset to ``<folder>/<name>.zarr``."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset in datasets:
        dataset.write(folder / f"{dataset.name}.zarr", overwrite=overwrite)


def read_folder(folder: Path) -> Datasets:
    """Read what `write_folder` wrote, in the order of the names.

    Raises
    ------
    ConfigError
        The folder holds no dataset.
    """
    groups = sorted(folder.glob("*.zarr"))
    if not groups:
        raise ConfigError("there is no dataset (*.zarr) in it", where=str(folder), hint="Name another folder")
    return Datasets(read_dataset(group) for group in groups)
