"""A collection of datasets of any types, found by name or by place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, overload

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets import collection_info, formats
from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.dataset import Dataset
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.grouping import GroupBy, groups_of
from gammaflow.datasets.stacking import stack
from gammaflow.errors import GammaflowError, GeometryError, ModelError, StackingError, UnsupportedError
from gammaflow.modeling import Models, Parameters


class DatasetNameError(GammaflowError, KeyError):
    """No dataset, or more than one, goes by a name."""

    def __str__(self) -> str:
        # KeyError shows the representation of its argument, which is no sentence.
        return GammaflowError.__str__(self)


class Datasets(MutableSequence[Any]):
    """Datasets in an order, each with a name of its own. They may be of different types.

    Parameters
    ----------
    datasets : iterable of Dataset
        What it holds.

    Raises
    ------
    DatasetNameError
        When two datasets have the same name.
    """

    def __init__(self, datasets: Iterable[Any] = ()) -> None:
        self._datasets: list[Any] = []
        self.extend(datasets)

    @classmethod
    def read(cls, filename: str | Path, filename_models: str | Path | None = None) -> Datasets:
        """Read the datasets that a ``datasets.yaml`` lists, see `gammaflow.io.read_datasets`.

        Parameters
        ----------
        filename : str or Path
            The list.
        filename_models : str or Path, optional
            A file of models for them.
        """
        found: Datasets = formats.list_format()[0](filename, filename_models)
        return found

    def write(
        self,
        filename: str | Path,
        filename_models: str | Path | None = None,
        overwrite: bool = False,
        *,
        ending: str = ".fits",
    ) -> None:
        """Write each dataset into a file of its own, and a YAML file that lists them.

        Parameters
        ----------
        filename : str or Path
            The list; the datasets are written beside it.
        filename_models : str or Path, optional
            Write the models of all datasets there.
        overwrite : bool
            Replace what is there.
        ending : str
            Format of the datasets, e.g. ``.fits`` or ``.zarr``.
        """
        formats.list_format()[1](self, filename, filename_models, ending=ending, overwrite=overwrite)

    # A sequence

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [dataset.name for dataset in self._datasets]

    def index(self, value: object, start: int = 0, stop: int | None = None) -> int:
        """Place of a dataset, or of the one with this name."""
        names = self.names[start:stop]
        name = value.name if isinstance(value, Dataset) else str(value)
        if name not in names:
            raise DatasetNameError(
                f"no dataset is named {name!r}",
                where="Datasets",
                hint=f"There are: {', '.join(self.names) or 'none'}",
            )
        return names.index(name) + start

    @overload
    def __getitem__(self, key: int | str) -> Any: ...

    @overload
    def __getitem__(self, key: slice) -> Datasets: ...

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, str):
            return self._datasets[self.index(key)]
        if isinstance(key, slice):
            return Datasets(self._datasets[key])
        return self._datasets[key]

    def __setitem__(self, key: Any, dataset: Any) -> None:
        place = self._place(key)
        self._check(dataset, [d for d in self._datasets if d is not self._datasets[place]])
        self._datasets[place] = dataset

    def __delitem__(self, key: Any) -> None:
        del self._datasets[key if isinstance(key, slice) else self._place(key)]

    def insert(self, index: int, value: Any) -> None:
        """Put a dataset before the one at a place.

        Raises
        ------
        DatasetNameError
            When one of the same name is there.
        """
        self._check(value, self._datasets)
        self._datasets.insert(index, value)

    def copy(self) -> Datasets:
        """Copies of all; models that several share remain shared by the copies."""
        copied = Datasets(dataset.copy() for dataset in self._datasets)
        originals = list(self.models)
        shared = dict(zip(map(id, originals), Models(originals).copy(), strict=True))
        for dataset, copy in zip(self._datasets, copied, strict=True):
            own = {id(model): shared[id(model)] for model in dataset.all_models}
            copy._background_model = own.get(id(dataset.background_model))
            copy._sky_models = tuple(own[id(model)] for model in dataset.sky_models)
        return copied

    def _place(self, key: int | str) -> int:
        return self.index(key) if isinstance(key, str) else int(key)

    @staticmethod
    def _check(dataset: Any, others: Sequence[Any]) -> None:
        if not isinstance(dataset, Dataset):
            raise UnsupportedError(
                f"this is no dataset but a {type(dataset).__name__}",
                where="Datasets",
                hint="Read it first, e.g. with MapDataset.read",
            )
        if any(other.name == dataset.name for other in others):
            raise DatasetNameError(
                f"two datasets are named {dataset.name!r}",
                where="Datasets",
                hint="Give each a name of its own",
            )

    def __len__(self) -> int:
        return len(self._datasets)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._datasets)

    def __contains__(self, value: object) -> bool:
        return value in self.names if isinstance(value, str) else value in self._datasets

    def __add__(self, other: Iterable[Any]) -> Datasets:
        return Datasets([*self, *other])

    # Models and statistic

    @property
    def models(self) -> Models:
        """The models of all datasets, each once."""
        found: dict[int, Any] = {}
        for dataset in self._datasets:
            for model in dataset.all_models:
                found.setdefault(id(model), model)
        return Models(found.values())

    @models.setter
    def models(self, models: Any) -> None:
        """Give each dataset those that are for it: that name it, or name none.

        A background model goes to its dataset only. None takes all models away.
        """
        given = None if models is None else Models(models)
        for model in given or ():
            missing = [name for name in model.datasets_names or () if name not in self.names]
            if missing:
                raise ModelError(
                    f"it is for the dataset {missing[0]!r}, which is not there",
                    where=f"model {model.name!r}",
                    hint=f"There are: {', '.join(self.names) or 'none'}",
                )
        for dataset in self._datasets:
            dataset.models = given

    @property
    def parameters(self) -> Parameters:
        """Parameters of all models; a linked one stands in every place."""
        return self.models.parameters

    def stat_sum(self) -> float:
        """The fit statistics of all datasets, and -2 ln of the priors, each parameter's once."""
        return sum(d.stat_sum() for d in self._datasets) + float(self.parameters.prior_stat_sum())

    # Selection

    def select(
        self,
        name: str | Sequence[str] | None = None,
        tag: str | Sequence[str] | None = None,
        **meta: object,
    ) -> Datasets:
        """Those that meet every condition.

        Parameters
        ----------
        name : str or list of str
            Names; ``*`` and ``?`` stand for any letters and any letter.
        tag : str or list of str
            Types, e.g. ``SpectrumDatasetOnOff``.
        **meta
            Values in the dataset's ``meta``, e.g. ``instrument="HESS"``.
        """
        names, tags = ([x] if isinstance(x, str) else x for x in (name, tag))
        return Datasets(
            d
            for d in self._datasets
            if (names is None or any(fnmatchcase(d.name, pattern) for pattern in names))
            and (tags is None or d.tag in tags)
            and all(d.meta.get(key) == value for key, value in meta.items())
        )

    def select_time(self, time_min: Time, time_max: Time, atol: object = "1e-6 s") -> Datasets:
        """Those all of whose good time lies between two times.

        Parameters
        ----------
        time_min, time_max : Time
        atol : str or Quantity
            By how much they may stick out.
        """
        tolerance = float(u.Quantity(atol).to_value(u.s))

        def inside(gti: GTI | None) -> bool:
            if gti is None or not len(gti):
                return False
            low, high = (float(gti.time_reference.seconds(t)) for t in (time_min, time_max))
            return bool(gti.start.min() >= low - tolerance and gti.stop.max() <= high + tolerance)

        return Datasets(d for d in self._datasets if inside(d.gti))

    def slice_by_energy(self, energy_min: object = None, energy_max: object = None) -> Datasets:
        """The bins of each between two energies; datasets without such a bin are left out.

        See `CountsDataset.slice_by_energy`, and `FluxPointsDataset.slice_by_energy`.
        """
        parts = []
        for dataset in self._datasets:
            try:
                parts.append(dataset.slice_by_energy(energy_min, energy_max))
            except GeometryError:  # none of its bins is between them
                continue
        return Datasets(parts)

    def group_by(
        self,
        column: str | Callable[[Any], str],
        bins: Sequence[Any] | None = None,
        position: SkyCoord | NDArray[np.float64] | None = None,
    ) -> dict[str, Datasets]:
        """Groups of similar conditions, by their labels.

        Parameters
        ----------
        column : str or callable
            ``zenith``, ``offset``, ``time``, a column of the table of observations, or a key of ``meta``, see
            `GroupBy`; or what gives a dataset's label.
        bins : sequence of float, str, Quantity or Time, optional
            Edges of bins.
        position : SkyCoord or array, optional
            What the offset of the pointing is measured from; the region of a spectrum when not given.
        """
        if callable(column):
            groups: dict[str, list[Any]] = {}
            for dataset in self._datasets:
                groups.setdefault(column(dataset), []).append(dataset)
        else:
            groups = groups_of(self._datasets, GroupBy(column, () if bins is None else tuple(bins), position))
        return {label: Datasets(members) for label, members in groups.items()}

    def to_spectrum_datasets(self, region: Any, containment_correction: bool = False) -> Datasets:
        """What a region holds of each map, as spectra; see `MapDataset.to_spectrum_dataset`."""
        return Datasets(d.to_spectrum_dataset(region, containment_correction) for d in self._datasets)

    # Stacking

    def stack_reduce(self, name: str = "stacked", geometry: DatasetGeometry | None = None) -> Any:
        """All of them stacked in order, see `gammaflow.datasets.stacking`.

        Parameters
        ----------
        name : str
            Name of the result.
        geometry : DatasetGeometry, optional
            The whole geometry; that of which the first is a part when not given.

        Raises
        ------
        StackingError, GeometryError
            When they do not fit together.
        """
        for dataset in self._datasets:
            if not isinstance(dataset, CountsDataset):
                raise StackingError(
                    f"a {dataset.tag} cannot be stacked", where=f"dataset {dataset.name}", hint="Leave it out"
                )
        return stack(self._datasets, name, geometry)

    def stack_groups(
        self,
        column: str | Callable[[Any], str],
        bins: Sequence[Any] | None = None,
        position: SkyCoord | NDArray[np.float64] | None = None,
    ) -> Datasets:
        """One stacked dataset for each group of `group_by`, named by its label."""
        groups = self.group_by(column, bins, position)
        return Datasets(group.stack_reduce(label) for label, group in groups.items())

    # Telling about them

    @property
    def is_all_same_type(self) -> bool:
        """Whether all are of one type."""
        return len({dataset.tag for dataset in self._datasets}) <= 1

    @property
    def is_all_same_shape(self) -> bool:
        """Whether all have the same number of bins and pixels."""
        return len({dataset.data_shape for dataset in self._datasets}) <= 1

    @property
    def energy_axes_are_aligned(self) -> bool:
        """Whether the bins of reconstructed energy of all have the same edges where they overlap."""
        return collection_info.energy_axes_are_aligned(self._datasets)

    @property
    def energy_ranges(self) -> tuple[u.Quantity, u.Quantity]:
        """Lowest and highest energy of each (n,); of flux points without edges those of the points."""
        return collection_info.energy_ranges(self._datasets)

    @property
    def gti(self) -> GTI | None:
        """The good time of all, overlapping and touching intervals merged; None when none has any."""
        return collection_info.common_gti(self._datasets)

    @property
    def meta_table(self) -> Table:
        """One row a dataset: ``NAME``, ``TYPE``, ``OBS_ID``, and what their ``meta`` hold; masked where nothing."""
        return collection_info.meta_table(self._datasets)

    def info_table(self, cumulative: bool = False) -> QTable:
        """One row a dataset: sums over its safe range, see `CountsDataset.info_dict`.

        Flux points have no such sums and no row. What a type does not have is NaN.

        Parameters
        ----------
        cumulative : bool
            Row n is that of the first n datasets stacked; they must be of one type.
        """
        return collection_info.info_table(self._datasets, cumulative)

    def __str__(self) -> str:
        return collection_info.describe(self._datasets)

    def __repr__(self) -> str:
        return f"<Datasets of {len(self)}: {', '.join(self.names[:5])}{', ...' if len(self) > 5 else ''}>"
