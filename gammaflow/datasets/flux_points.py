"""Flux points as a dataset: what another analysis measured, to be fitted together with counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets import schema
from gammaflow.datasets.dataset import Dataset
from gammaflow.datasets.flux_columns import labelled_columns
from gammaflow.datasets.flux_statistics import STAT_TYPES, Chi2, FluxStatistic, Profile, TwoSided
from gammaflow.datasets.rebinning import in_tev
from gammaflow.errors import DataError, GeometryError, UnsupportedError
from gammaflow.modeling import SkyModel

_LAYOUT = schema.LAYOUTS["FluxPointsDataset"]
_PER_CM2 = 1e-4  # models are per m2
_N_SIGMA_UL = 2.0


class FluxPointsDataset(Dataset):
    """Differential fluxes at some energies, with errors or likelihood profiles, held against spectral models.

    What is measured stands in columns over the energies, see `gammaflow.datasets.schema`: ``dnde``; its error
    ``dnde_err``, or ``dnde_errn`` and ``dnde_errp``; the limit ``dnde_ul``; the scan of the fit statistic
    ``stat_scan`` over ``norm_scan``, factors on ``dnde_ref``. By ``stat_type`` they become a statistic:

    - ``chi2``, as long as nothing else is asked for: limits, and points without an error, take no part; of errors
      with two sides the mean is taken;
    - ``distrib`` and ``censored``: errors of two sides, and limits, see `gammaflow.datasets.flux_statistics`;
    - ``profile``: the scan, interpolated. The best choice where there is one.

    Parameters
    ----------
    data : xarray.Dataset
        Following the schema of `gammaflow.datasets.schema`; its attribute ``stat_type`` is read if it is there.
    models : SkyModel, Models or iterable of models, optional
        Only their spectra matter, and the mean of a temporal model over the good time intervals.

    Raises
    ------
    DataError
        When there are fluxes without errors.
    """

    tag = "FluxPointsDataset"
    _takes_background_model: ClassVar[bool] = False

    def __init__(self, data: xr.Dataset, models: Any = None) -> None:
        super().__init__(data, models)
        self._profile: tuple[xr.Dataset, Profile] | None = None
        usable = np.isfinite(self.dnde.values) & ~self.is_ul
        if "stat_scan" not in data.variables and usable.any() and not (self.error[usable] > 0).any():
            raise DataError(
                "flux points without errors",
                where=f"dataset {self.name}",
                hint="Give dnde_err, or dnde_errn and dnde_errp, or the scan of a likelihood (norm_scan, stat_scan)",
            )

    @classmethod
    def _from_checked(cls, data: xr.Dataset) -> Self:
        return cls(data)

    @classmethod
    def from_arrays(
        cls,
        name: str,
        energy: Any,
        dnde: Any,
        *,
        energy_min: Any = None,
        energy_max: Any = None,
        gti: GTI | None = None,
        models: Any = None,
        meta: Mapping[str, Any] | None = None,
        stat_type: str | None = None,
        **columns: Any,
    ) -> Self:
        """A dataset from columns of a table.

        Parameters
        ----------
        name : str
            Name of the dataset.
        energy : Quantity or array, shape (n,)
            Energies at which the fluxes are given, increasing; TeV when bare numbers.
        dnde : Quantity or array, shape (n,)
            Differential fluxes; cm-2 s-1 TeV-1 when bare numbers. NaN where there is only a limit.
        energy_min, energy_max : Quantity or array, optional
            Edges of the bins.
        gti : GTI, optional
            When they were measured.
        models : models, optional
            See `models`.
        meta : mapping, optional
            Anything that JSON can hold; ``n_sigma_ul`` says of how many sigma the limits are (2 when it is not there).
        stat_type : {"chi2", "distrib", "censored", "profile"}, optional
            See the class.
        **columns : Quantity or array, optional
            ``dnde_err``, or ``dnde_errn`` and ``dnde_errp`` (both positive), ``dnde_ul``, ``is_ul``,
            ``sqrt_ts``, ``mask_safe``, ``mask_fit``, all of shape (n,); for a profile ``dnde_ref`` (n,),
            ``norm_scan`` (n, m) or (m,), increasing, ``stat_scan`` (n, m), and ``stat`` (n,), the statistic at the
            best norm, 0 when it is not given.

        Raises
        ------
        DataError
            When there are no errors, or the energies do not increase.
        UnitError
            When a unit is of another kind.
        SchemaError
            When a column is unknown, has another shape, or lacks those that it needs.
        """
        data = labelled_columns(name, energy, dnde, energy_min, energy_max, gti, meta, columns)
        dataset = cls(data, models)
        if stat_type is not None:
            dataset.stat_type = stat_type
        return dataset

    @property
    def energy(self) -> NDArray[np.float64]:
        """Energies of the points (n,), TeV."""
        return np.asarray(self.data["energy"].values)

    @property
    def dnde(self) -> xr.DataArray:
        """Differential fluxes (n,), cm-2 s-1 TeV-1."""
        return self.data["dnde"]

    @property
    def error(self) -> NDArray[np.float64]:
        """Errors (n,), cm-2 s-1 TeV-1; the mean of the two sides where there is no symmetric one; NaN without."""
        low, high, error = (self._column(n) for n in ("dnde_errn", "dnde_errp", "dnde_err"))
        return np.where(np.isfinite(error), error, 0.5 * (low + high))

    def _column(self, name: str) -> NDArray[np.float64]:
        """A column; NaN where there is none."""
        found = self.array(name)
        return np.full(self.data_shape, np.nan) if found is None else found

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Number of points."""
        return self.dnde.shape

    @property
    def is_ul(self) -> NDArray[np.bool_]:
        """Points that are upper limits (n,): as they are marked; else those with a limit, but no flux with an error."""
        marked = self.array("is_ul")
        if marked is not None:
            return marked
        measured = np.isfinite(self.dnde.values) & np.isfinite(self.error)
        return np.isfinite(self._column("dnde_ul")) & ~measured

    # The statistic

    @property
    def stat_type(self) -> str:
        """Which statistic is used, see the class."""
        return str(self.data.attrs.get("stat_type", STAT_TYPES[0]))

    @stat_type.setter
    def stat_type(self, stat_type: str) -> None:
        if stat_type not in STAT_TYPES:
            raise UnsupportedError(
                f"the statistic {stat_type!r}",
                where=f"dataset {self.name}",
                hint=f"Known are {', '.join(STAT_TYPES)}",
            )
        missing = [n for n in ("dnde_ref", "norm_scan", "stat_scan") if n not in self.data.variables]
        if stat_type == "profile" and missing:
            raise DataError(
                f"there is no likelihood profile: {', '.join(missing)} missing",
                where=f"dataset {self.name}",
                hint="Estimate the flux points with a scan, or use another statistic",
            )
        data = self.data.copy(deep=False)
        data.attrs["stat_type"] = stat_type
        self.data = data

    @property
    def statistic(self) -> FluxStatistic:
        """The statistic of all points: ``value``, ``score`` and ``curvature`` for predicted fluxes (n,).

        It knows nothing of `mask_safe` and `mask_fit`.
        """
        flux, error, limits = self.dnde.values, self.error, self.is_ul
        measured = np.isfinite(flux) & np.isfinite(error) & (error > 0) & ~limits
        if self.stat_type == "chi2":
            return Chi2(flux, error, measured)
        if self.stat_type == "profile":
            return self._interpolated()
        below, above = (
            np.where(np.isfinite(side), side, error)
            for side in (self._column("dnde_errn"), self._column("dnde_errp"))
        )
        limit = self._column("dnde_ul")
        width = limit / np.sqrt(2.0)
        if self.stat_type == "censored":
            # By the limit itself: symmetric errors of a flux near zero, as fits give them, can be far too small
            above_flux = np.where(flux < limit, limit - flux, limit)
            width = above_flux / float(self.meta.get("n_sigma_ul", _N_SIGMA_UL))
        cut = limits & np.isfinite(limit) & (limit > 0)
        return TwoSided(
            flux, below, above, limit, width, (measured & (below > 0) & (above > 0)) | cut, cut,
            falling=self.stat_type == "censored",
        )  # fmt: skip

    def _interpolated(self) -> Profile:
        if self._profile is None or self._profile[0] is not self.data:
            norm, scan, reference = (
                np.asarray(self.array(n), dtype=np.float64) for n in ("norm_scan", "stat_scan", "dnde_ref")
            )
            best = self.array("stat")
            delta = scan if best is None else scan - best[:, None]
            valid = np.isfinite(delta).all(axis=1) & np.isfinite(norm).all(axis=1) & (reference > 0)
            self._profile = (self.data, Profile(norm, delta, reference, valid))
        return self._profile[1]

    @property
    def mask_valid(self) -> xr.DataArray:
        """Points that the statistic can use: with a flux and an error; or a limit, where it takes limits; or a scan."""
        return self._label(self.statistic.valid, "dnde", "mask_valid")

    @property
    def mask(self) -> xr.DataArray:
        """Points that are valid, safe, and chosen for the fit."""
        chosen = super().mask
        return self.mask_valid if chosen is None else self.mask_valid & chosen

    def flux_pred(self) -> xr.DataArray:
        """Predicted differential fluxes (n,), cm-2 s-1 TeV-1: the sum of the models' spectra.

        A temporal model counts with its mean over the good time intervals.
        """
        total = np.zeros(self.data_shape)
        for model in self.sky_models:
            total += model.spectral_model.values(self.energy) * (_PER_CM2 * self.mean_in_time(model))
        return self._label(total, "dnde", "flux_pred")

    def mean_in_time(self, model: SkyModel) -> float:
        """Mean of a model's temporal part over the good time intervals; 1 without one.

        Raises
        ------
        UnsupportedError
            When it varies and there are no good time intervals.
        """
        if model.temporal_model is None:
            return 1.0
        gti = self.gti
        if gti is None or not len(gti):
            raise UnsupportedError(
                f"the model {model.name!r} varies in time",
                where=f"dataset {self.name}",
                hint="These flux points have no good time intervals: leave the temporal model out",
            )
        return float(np.sum(model.temporal_model.integral(gti.time_start, gti.time_stop)))

    def stat_array(self) -> xr.DataArray:
        """The statistic of each point, whatever the mask; 0 for those that are not valid."""
        return self._label(self.statistic.value(self.flux_pred().values), "dnde", "stat")

    def _data_and_prediction(self) -> tuple[xr.DataArray, xr.DataArray]:
        flux = self.dnde.copy(data=np.where(self.is_ul, np.nan, self.dnde.values))
        return flux, self.flux_pred()

    # Other datasets from this one

    def with_columns(self, **columns: Any) -> Self:
        """The same points with some columns replaced, see `from_arrays`; None takes one away."""
        kept = {n: v.values for n, v in self.data.data_vars.items() if n in _LAYOUT.variables}
        rest = {n: kept.pop(n) for n in ("gti_start", "gti_stop") if n in kept}
        bounds = {n: c.values for n, c in self.data.coords.items() if n != "energy"}
        given: dict[str, Any] = {**{str(n): v for n, v in kept.items()}, **columns}
        return type(self).from_arrays(
            self.name, self.energy, given.pop("dnde"), gti=self.gti if rest else None, meta=self.meta,
            stat_type=self.data.attrs.get("stat_type"), **{str(n): b for n, b in bounds.items()}, **given,
        )._with_models_of(self)  # fmt: skip

    def slice_by_energy(
        self, energy_min: object = None, energy_max: object = None, name: str | None = None
    ) -> Self:
        """The points between two energies (Quantity, str, or float in TeV).

        Raises
        ------
        GeometryError
            When there is none.
        """
        inside = np.ones(self.data_shape, dtype=bool)
        if energy_min is not None:
            inside &= self.energy >= in_tev(energy_min)
        if energy_max is not None:
            inside &= self.energy <= in_tev(energy_max)
        if not inside.any():
            raise GeometryError(
                f"no point lies between {energy_min} and {energy_max}", where=f"dataset {self.name}"
            )
        data = self.data.isel(energy=inside)
        data.attrs = {**self.data.attrs, "name": name or self.name}
        return type(self)(data)._with_models_of(self)

    def copy(self, name: str | None = None) -> Self:
        """A deep copy, under another name if one is given."""
        data = self.data.copy(deep=True)
        if name is not None:
            data.attrs["name"] = str(name)
        return type(self)(data)._with_models_of(self, copied=True)

    def __str__(self) -> str:
        stat = self.stat_sum() if self.sky_models else np.nan
        parameters = list(self.parameters) if self.sky_models else []
        blocks = [
            [("Name", f"{self.name} ")],
            [
                ("Number of total flux points", f"{self.data_shape[0]} "),
                ("Number of fit bins", f"{int(self.mask.sum())} "),
            ],
            [("Fit statistic type", self.stat_type), ("Fit statistic value (-2 log(L))", f"{stat:.2f}")],
            [
                ("Number of models", f"{len(self.sky_models)} "),
                ("Number of parameters", f"{len(parameters)}"),
                ("Number of free parameters", f"{sum(not p.frozen for p in parameters)}"),
            ],
        ]
        lines = [self.tag, "-" * len(self.tag), ""]
        for block in blocks:
            lines += [f"  {label:32}: {value}" for label, value in block] + [""]
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return f"<{self.tag} {self.name!r}: {self.data_shape[0]} points>"
