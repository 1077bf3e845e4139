"""The datasets of a run as a fit refers to them: where they lie and what they must be, not what they hold.

A reference is small, so that it travels; whoever needs the arrays, on a worker most often, loads them with `load`,
which is a pure function of the reference: what it finds is held against the receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from gammaflow.dag.receipts import Receipt
from gammaflow.datasets import MapDataset, SpectrumDataset
from gammaflow.datasets.dataset import dataset_type
from gammaflow.errors import DataError, UnsupportedError
from gammaflow.io import read_dataset
from gammaflow.io.encoding import group_attributes
from gammaflow.io.folders import LocalFolders
from gammaflow.io.zarr import read_digest
from gammaflow.maps import MapAxis
from gammaflow.modeling import FoVBackgroundModel

_TRUE_ENERGY: Final = ("energy_true", "energy_true_min", "energy_true_max")


@dataclass(frozen=True)
class EnergyRange:
    """The reconstructed energies that take part in a fit.

    Parameters
    ----------
    min, max : float or None
        TeV; a bin counts when it lies inside as a whole. None: no limit.
    """

    min: float | None = None
    max: float | None = None

    @property
    def everything(self) -> bool:
        """Whether there is no limit."""
        return self.min is None and self.max is None


EVERYTHING: Final = EnergyRange()
"""No limit."""


@dataclass(frozen=True, eq=False)
class StoredDataset:
    """A dataset of a run folder, by reference.

    Parameters
    ----------
    name : str
        Name of the dataset.
    path : Path
        Its Zarr group, as every worker sees it.
    key : str
        Content key of the receipt.
    digests : mapping of str to str
        Of the values of each array, from the receipt.
    energy_axis_true : MapAxis
        Its true energies: all that a fit must know before it asks.
    models : FoVBackgroundModel or None
        The background model that it was reduced with.
    energy_range : EnergyRange
        What of it takes part in the fit.
    """

    name: str
    path: Path
    key: str
    digests: Mapping[str, str]
    energy_axis_true: MapAxis
    models: FoVBackgroundModel | None = None
    energy_range: EnergyRange = EVERYTHING

    @property
    def geometry(self) -> Any:
        """With ``energy_axis_true``, as a fit asks for it."""
        return SimpleNamespace(energy_axis_true=self.energy_axis_true)

    @property
    def has_background(self) -> bool:
        """Whether there is a background that a norm could scale."""
        return "background" in self.digests

    def load(self) -> MapDataset | SpectrumDataset:
        """Read it, whole, with ``mask_fit`` of the energies that take part.

        Raises
        ------
        DataError
            What lies there is not what the receipt promises.
        """
        found = read_digest(self.path)
        differing = sorted(name for name, digest in self.digests.items() if found.get(name) != digest)
        if differing:
            raise DataError(
                f"its arrays are not those of its receipt ({', '.join(differing[:3])})",
                where=str(self.path),
                hint="It was written anew since the fit began: run the fit again",
            )
        return within(read_dataset(self.path), self.energy_range)


def within(dataset: MapDataset | SpectrumDataset, energies: EnergyRange) -> MapDataset | SpectrumDataset:
    """The dataset with ``mask_fit`` restricted to a range of energies."""
    if energies.everything:
        return dataset
    shape = dataset.geometry.shapes["counts"]
    chosen = dataset.geometry.energy_axis.energy_mask(energies.min, energies.max)
    mask = np.broadcast_to(chosen.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    before = dataset.array("mask_fit")
    return dataset.with_arrays(mask_fit=mask.copy() if before is None else mask & before)


def stored_datasets(
    folder: Path, receipts: Iterable[Receipt], energy_range: EnergyRange = EVERYTHING
) -> tuple[StoredDataset, ...]:
    """References to the datasets that receipts of a run are for, in their order.

    Parameters
    ----------
    folder : Path
        The run folder.
    receipts : iterable of Receipt
        Of reduced observations, or of stacked datasets.
    energy_range : EnergyRange
        What takes part in the fit; everything, if not given.

    Raises
    ------
    DataError
        A group cannot be read, or holds a kind of dataset that cannot be fitted.
    """
    axes: dict[tuple[str | None, ...], MapAxis] = {}
    files = LocalFolders()
    found = []
    for receipt in receipts:
        path = folder / receipt.group
        attributes = group_attributes(files.get(path, only="zarr.json"), str(path))
        kind = str(attributes.get("dataset_type"))
        if not _holds_counts(kind):
            raise UnsupportedError(
                f"a fit of a {kind} of a run", where=str(path), hint="Runs hold maps and spectra"
            )
        digest = tuple(receipt.arrays.get(name) for name in _TRUE_ENERGY)
        if digest not in axes:  # the same for all, as a rule: one dataset is read for it
            axes[digest] = read_dataset(path).geometry.energy_axis_true
        written = attributes.get("models")
        found.append(
            StoredDataset(
                name=str(attributes["name"]),
                path=path,
                key=receipt.key,
                digests=dict(receipt.arrays),
                energy_axis_true=axes[digest],
                models=FoVBackgroundModel.from_dict(written[0]) if written else None,
                energy_range=energy_range,
            )
        )
    return tuple(found)


def _holds_counts(kind: str) -> bool:
    try:
        return issubclass(dataset_type(kind), MapDataset | SpectrumDataset)
    except KeyError:
        return False
