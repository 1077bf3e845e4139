"""What the four datasets of binned counts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from gammaflow.data import GTI
from gammaflow.datasets import info, labelling, prediction, rebinning, schema
from gammaflow.datasets.dataset import Dataset
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.observations import ObservationRow, ObservationTable, parse_reference
from gammaflow.errors import SchemaError, UnsupportedError
from gammaflow.maps import MapAxis
from gammaflow.stats import cash

Kind = TypeVar("Kind", bound="CountsDataset")
Rng = np.random.Generator | int | None


class CountsDataset(Dataset):
    """Binned counts with a background and with the responses needed to model them.

    The arrays are kept as they are stored (counts int32, maps float32, masks bool), so that a dataset from
    memory and one from disk give the same bits. Sums over them are made in float64.

    Parameters
    ----------
    data : xarray.Dataset
        Following the schema; its attribute ``models`` is read when ``models`` is not given.
    geometry : DatasetGeometry, optional
        Built from the coordinates of ``data`` when not given.
    models : FoVBackgroundModel, SkyModel, Models or iterable of models, optional
        See `models`.

    Raises
    ------
    SchemaError
        When ``data`` does not follow the schema.
    """

    #: The arrays that this type can hold, in the order in which they are kept.
    arrays: ClassVar[tuple[str, ...]] = ()
    stat_type = "cash"
    geometry: DatasetGeometry

    def __init__(self, data: xr.Dataset, geometry: Any = None, models: Any = None) -> None:
        if geometry is None:
            schema.check(data)
            geometry = labelling.geometry_from_xarray(data)
        self.geometry = geometry
        super().__init__(data, models)
        # What one maker hands to the next and nobody else sees; neither copied nor written.
        self._workspace: object = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_workspace": None}

    @classmethod
    def _from_checked(cls, data: xr.Dataset) -> Self:
        return cls(data, labelling.geometry_from_xarray(data))

    @classmethod
    def from_arrays(
        cls,
        geometry: DatasetGeometry,
        name: str,
        *,
        gti: GTI | None = None,
        observations: ObservationTable | ObservationRow | None = None,
        livetime: float | None = None,
        models: Any = None,
        meta: Mapping[str, Any] | None = None,
        **arrays: ArrayLike | None,
    ) -> Self:
        """A dataset from plain arrays on ``geometry``; the cheap way that makers use.

        Parameters
        ----------
        geometry : DatasetGeometry
            Where the arrays live; ``geometry.shapes`` says which shape each must have.
        name : str
            Name of the dataset.
        gti : GTI, optional
            Good time intervals.
        observations : ObservationTable or ObservationRow, optional
            What went in. Times are counted from the reference time of ``gti``.
        livetime : float, optional
            s; the sum over the observations in use when not given.
        models : models, optional
            See `models`.
        meta : mapping, optional
            Anything that JSON can hold, e.g. ``{"instrument": "CTA"}``.
        **arrays : array, optional
            Those of the class attribute ``arrays``, with dimensions as in `gammaflow.datasets.schema`, a
            spectrum's without pixels. ``mask_safe`` is True everywhere when not given.

        Raises
        ------
        SchemaError
            When an array is unknown, of another shape, or of a kind of numbers that would be cut.
        """
        cls._check_names(arrays, f"dataset {name}")
        given: dict[str, ArrayLike] = {n: arrays[n] for n in cls.arrays if arrays.get(n) is not None}  # type: ignore[misc]  # None is left out
        if "mask_safe" not in given:
            given["mask_safe"] = np.broadcast_to(np.True_, geometry.shapes["mask_safe"])
        data = labelling.labelled(cls.tag, geometry, name, given, gti, observations, livetime, meta)
        return cls(data, geometry, models)

    @classmethod
    def _empty(cls, geometry: DatasetGeometry, name: str | None, reference_time: str) -> Self:
        """Everything zero, no bin safe, no time. Single zeros seen through broadcasting cost nothing."""
        variables = schema.LAYOUTS[cls.tag].variables
        arrays: dict[str, Any] = {
            n: np.broadcast_to(np.zeros((), dtype=variables[n].dtype), geometry.shapes[n])
            for n in cls.arrays
            if n != "mask_fit"
        }
        gti = GTI([], [], parse_reference(reference_time))
        return cls.from_arrays(
            geometry, name or "empty", gti=gti, observations=ObservationTable.empty(), **arrays
        )

    @classmethod
    def _check_names(cls, arrays: Mapping[str, object], where: str) -> None:
        unknown = sorted(set(arrays) - set(cls.arrays))
        if unknown:
            raise SchemaError([f"array {n!r} is not part of a {cls.tag}" for n in unknown], where=where)

    # What it holds

    def cube(self, name: str) -> NDArray[Any] | None:
        """As `array`, with two dimensions for the pixels at the end also where there is only one pixel."""
        array = self.array(name)
        return None if array is None else array.reshape(self.geometry.cube_shapes[name])

    def addends(self) -> dict[str, NDArray[Any]]:
        """What stacking adds up, as cubes, by the names of `gammaflow.datasets.partial.SUMS`."""
        names = (n for n in self.arrays if n not in ("mask_fit", "acceptance_off"))
        return {n: cube for n in names if (cube := self.cube(n)) is not None}

    @property
    def counts(self) -> xr.DataArray | None:
        """Observed counts, int32."""
        return self._labelled("counts")

    @property
    def background(self) -> xr.DataArray | None:
        """Background counts before norm and tilt are applied, float32."""
        return self._labelled("background")

    @property
    def exposure(self) -> xr.DataArray | None:
        """Exposure at true energies, m2 s."""
        return self._labelled("exposure")

    @property
    def edisp(self) -> xr.DataArray | None:
        """Energy dispersion (energy_true, energy or migra, ...)."""
        return self._labelled("edisp")

    @property
    def edisp_exposure(self) -> xr.DataArray | None:
        """Weight of the energy dispersion (energy_true, ...), m2 s."""
        return self._labelled("edisp_exposure")

    @property
    def mask_safe(self) -> xr.DataArray | None:
        """Safe data range. May be set to a mask of all bins, of pixels, or of energies."""
        return self._labelled("mask_safe")

    @mask_safe.setter
    def mask_safe(self, mask: ArrayLike | None) -> None:
        self._set_mask("mask_safe", mask)

    @property
    def mask_fit(self) -> xr.DataArray | None:
        """Bins chosen for the fit, or None. May be set likewise, e.g. to ``geom.energy_mask("0.3 TeV")``."""
        return self._labelled("mask_fit")

    @mask_fit.setter
    def mask_fit(self, mask: ArrayLike | None) -> None:
        self._set_mask("mask_fit", mask)

    def _set_mask(self, name: str, mask: ArrayLike | None) -> None:
        given = None if mask is None else labelling.spread_mask(mask, self.data_shape, f"dataset {self.name}")
        self.data = self.with_arrays(**{name: given}).data

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the counts."""
        return self.geometry.shapes["counts"]

    @property
    def observations(self) -> ObservationTable:
        """What went in, one row an observation."""
        if "obs_id" not in self.data.variables:
            return ObservationTable.empty()
        return ObservationTable({n: self.data.variables[n].values for n in schema.OBSERVATION_COLUMNS})

    @property
    def livetime(self) -> float:
        """Livetime, s; NaN when there is no exposure."""
        if "exposure" not in self.data.variables:
            return float("nan")
        return float(self.data.variables["exposure"].attrs.get("livetime", np.nan))

    # Prediction and statistic

    def background_factor(self) -> NDArray[np.float64]:
        """Factor of the background model at each energy's centre (energy,); ones when there is no model."""
        center = np.asarray(self.geometry.energy_axis.center, dtype=np.float64)
        if self._background_model is None:
            return np.ones_like(center)
        return np.asarray(self._background_model.evaluate(center), dtype=np.float64)

    def npred_background(self) -> xr.DataArray | None:
        """Predicted background counts, float64: background times the model's factor at each energy."""
        background = self.array("background")
        if background is None:
            return None
        factor = self.background_factor().reshape(-1, *(1,) * (background.ndim - 1))
        return self._label(background * factor, "counts", "npred_background")

    def npred_signal(self, model_names: str | list[str] | None = None) -> xr.DataArray:
        """Predicted counts of the sources, float64; zero where there are none.

        Parameters
        ----------
        model_names : str or list of str, optional
            Only of these sources.
        """
        wanted = [model_names] if isinstance(model_names, str) else model_names
        sources = [m for m in self._sky_models if wanted is None or m.name in wanted]
        return self._label(prediction.predict(self, sources), "counts", "npred_signal")

    def npred(self) -> xr.DataArray | None:
        """Predicted counts of sources and background, not below zero; None when there is neither."""
        background = self.npred_background()
        if background is None and not self._sky_models:
            return None
        total = self.npred_signal().values if self._sky_models else 0.0
        if background is not None:
            total = total + background.values
        return self._label(np.maximum(total, 0.0), "counts", "npred")

    def background_counts(self) -> NDArray[np.float64] | None:
        """Background to expect whatever the sources are: with its norm and tilt, or alpha times OFF counts."""
        background = self.npred_background()
        return None if background is None else background.values

    @property
    def excess(self) -> xr.DataArray | None:
        """Counts less background, see `background_counts`."""
        counts, background = self.array("counts"), self.background_counts()
        if counts is None or background is None:
            return None
        return self._label(counts - background, "counts", "excess")

    def stat_array(self) -> xr.DataArray:
        """The Cash statistic 2 (mu - n ln mu) of each bin, whatever the mask."""
        counts, npred = self._data_and_prediction()
        return self._label(cash(counts.values, npred.values), "counts", "stat")

    def _data_and_prediction(self) -> tuple[xr.DataArray, xr.DataArray]:
        counts, npred = self.counts, self.npred()
        if counts is None or npred is None:
            missing = "counts" if counts is None else "background, and no source is modelled"
            raise UnsupportedError(f"it has no {missing}", where=f"dataset {self.name}")
        return counts, npred

    def fake(self, random_state: Rng = None) -> None:
        """Replace the counts by random ones, Poisson distributed about `npred`."""
        npred = self.npred()
        if npred is None:
            raise UnsupportedError("it predicts nothing", where=f"dataset {self.name}", hint="Set models")
        self.data = self.with_arrays(counts=np.random.default_rng(random_state).poisson(npred.values)).data

    # Other datasets from this one

    def with_arrays(self, **arrays: ArrayLike | None) -> Self:
        """The same dataset with some arrays replaced, the others shared; None removes one."""
        self._check_names(arrays, f"dataset {self.name}")
        given = {k: v for k, v in arrays.items() if v is not None}
        fresh = labelling.array_variables(self.geometry, given, schema.LAYOUTS[self.tag])
        if "exposure" in fresh:
            fresh["exposure"].attrs["livetime"] = self.livetime
        if len(fresh) == len(arrays) and all(name in self.data.variables for name in fresh):
            # No variable comes or goes: nothing to align, which is what takes xarray its time
            data = self.data.copy(deep=False)
            for name, variable in fresh.items():
                data.variables[name].data = variable.data
        else:
            data = self.data.drop_vars([n for n in arrays if n not in given], errors="ignore").assign(fresh)
        dataset = type(self)(data, self.geometry)._with_models_of(self)
        dataset._workspace = self._workspace
        return dataset

    def on_geometry(self, geometry: DatasetGeometry, name: str | None = None, **arrays: Any) -> Self:
        """A dataset of other arrays on another geometry, of the same observations and times, without models."""
        return self.of_type(type(self), geometry, name, **arrays)

    def of_type(
        self, kind: type[Kind], geometry: DatasetGeometry, name: str | None = None, **arrays: Any
    ) -> Kind:
        """As `on_geometry`, of another type."""
        return kind.from_arrays(
            geometry,
            name or self.name,
            gti=self.gti,
            observations=self.observations if "obs_id" in self.data.variables else None,
            livetime=self.livetime,
            meta=self.meta,
            **arrays,
        )

    def copy(self, name: str | None = None) -> Self:
        """A deep copy, under another name if one is given."""
        data = self.data.copy(deep=True)
        if name is not None:
            data.attrs["name"] = str(name)
        return type(self)(data, self.geometry)._with_models_of(self, copied=True)

    def part(self, geometry: DatasetGeometry, name: str | None, **slices: slice) -> Self:
        """Views of some bins or pixels, which ``geometry`` describes."""
        data = self.data.isel(slices, missing_dims="ignore").assign_coords(labelling.projections(geometry))
        data.attrs = {**self.data.attrs, "name": name or self.name}
        return type(self)(data, geometry)._with_models_of(self)

    def slice_by_idx(self, slices: Mapping[str, slice], name: str | None = None) -> Self:
        """Some bins of ``energy`` and ``energy_true``; see `gammaflow.datasets.rebinning`, also for those below."""
        return rebinning.slice_by_idx(self, slices, name)

    def slice_by_energy(
        self, energy_min: object = None, energy_max: object = None, name: str | None = None
    ) -> Self:
        """The bins of reconstructed energy between two energies, each moved to the nearest edge."""
        return rebinning.slice_by_energy(self, energy_min, energy_max, name)

    def resample_energy_axis(self, energy_axis: MapAxis, name: str | None = None) -> Self:
        """Coarser bins of reconstructed energy; safe bins are added."""
        return rebinning.resample_energy_axis(self, energy_axis, name)

    def to_image(self, name: str | None = None) -> Self:
        """All energies in one bin; safe bins are added."""
        return rebinning.to_image(self, name)

    def downsample(self, factor: int, axis_name: str | None = None, name: str | None = None) -> Self:
        """Larger pixels of a map, or with ``axis_name="energy"`` coarser bins; what is safe is added."""
        return rebinning.downsample(self, factor, axis_name, name)

    def to_masked(self, name: str | None = None) -> Self:
        """The dataset with everything outside its safe range left out of counts, background and responses."""
        from gammaflow.datasets.stacking import finish, lift  # stacking knows this class

        masked = finish(lift(self, self.geometry), name or self.name)
        assert isinstance(masked, type(self))  # stacking keeps the type
        return masked

    def stack(self, other: CountsDataset) -> None:
        """Add another dataset, in place.

        The other's safe mask is applied to it, this one's own is not (see `to_masked`), so start from
        `create`; to stack many, `gammaflow.datasets.stack` is faster.

        Raises
        ------
        StackingError, GeometryError
            When the two do not fit together.
        """
        from gammaflow.datasets.accumulator import Accumulator  # they know this class
        from gammaflow.datasets.stacking import finish

        total = Accumulator(self.geometry)
        total.add(self, apply_mask=False)
        total.add(other)
        stacked = finish(total.partial(), self.name)
        self.data, self._workspace = stacked.data, None
        self.models = None

    # Telling about it

    def summary(self, *, stat: bool = False) -> info.DatasetSummary:
        """Sums over the safe range as plain numbers; with the fit statistic if ``stat`` is True."""
        return info.summarise(self, stat=stat)

    def info_dict(self) -> dict[str, Any]:
        """Sums over the safe range, by Gammapy's keys and with its units."""
        return info.summarise(self, stat=True).to_info_dict()

    def __str__(self) -> str:
        return info.describe(self)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.data_shape))
        return f"<{self.tag} {self.name!r}: {shape} bins>"
