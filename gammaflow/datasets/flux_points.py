"""Flux points as a dataset: what another analysis measured, to be fitted together with counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from astropy import units as u
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets import schema
from gammaflow.datasets.dataset import Dataset
from gammaflow.datasets.observations import reference_string
from gammaflow.datasets.rebinning import in_tev
from gammaflow.errors import DataError, GeometryError, SchemaError, UnsupportedError

_LAYOUT = schema.LAYOUTS["FluxPointsDataset"]
_FLUX = u.Unit("cm-2 s-1 TeV-1")
_PER_CM2 = 1e-4  # models are per m2


class FluxPointsDataset(Dataset):
    """Differential fluxes at some energies, with errors, held against spectral models by chi2.

    Upper limits, and points without an error, take no part.

    Parameters
    ----------
    data : xarray.Dataset
        Following the schema of `gammaflow.datasets.schema`.
    models : SkyModel, Models or iterable of models, optional
        Only their spectra matter.
    """

    tag = "FluxPointsDataset"
    stat_type = "chi2"
    _takes_background_model: ClassVar[bool] = False

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
            Anything that JSON can hold.
        **columns : Quantity or array, optional
            ``dnde_err``, or ``dnde_errn`` and ``dnde_errp`` (both positive), ``dnde_ul``, ``is_ul``,
            ``sqrt_ts``, ``mask_safe``, ``mask_fit``.

        Raises
        ------
        DataError
            When there are no errors, or the energies do not increase.
        SchemaError
            When a column is unknown or has another length.
        """
        where = f"dataset {name}"
        unknown = sorted(set(columns) - set(_LAYOUT.variables) - {"stat_scan"})
        if unknown:
            raise SchemaError([f"column {n!r} is not part of a {cls.tag}" for n in unknown], where=where)
        given = {"dnde": dnde, **{n: c for n, c in columns.items() if c is not None}}
        if "dnde_err" not in given and not {"dnde_errn", "dnde_errp"} <= set(given):
            raise DataError(
                "flux points without errors", where=where, hint="Give dnde_err, or dnde_errn and dnde_errp"
            )
        centers = _values(energy, u.TeV)
        if centers.ndim != 1 or not (np.diff(centers) > 0).all() or not (centers > 0).all():
            raise DataError("the energies do not increase", where=where, hint="Sort the points by energy")
        coords = {"energy": centers}
        if energy_min is not None and energy_max is not None:
            coords |= {"energy_min": _values(energy_min, u.TeV), "energy_max": _values(energy_max, u.TeV)}
        variables: dict[str, Any] = {}
        for column, values in given.items():
            spec = _LAYOUT.variables[column]
            array = _values(values, _FLUX if spec.units else None).astype(spec.dtype)
            variables[column] = _variable(column, array, spec)
        issues = [
            f"{n}: shape {v.shape}, there are {len(centers)} energies"
            for n, v in variables.items()
            if v.shape != centers.shape
        ]
        if issues:
            raise SchemaError(issues, where=where)
        if gti is not None:
            reference = {"reference_time": reference_string(gti.time_reference)}
            for column, values in (("gti_start", gti.start), ("gti_stop", gti.stop)):
                variables[column] = _variable(column, values, _LAYOUT.variables[column], reference)
        labelled = {n: _variable(n, v, _LAYOUT.coordinates[n]) for n, v in coords.items()}
        attrs = {
            "name": str(name),
            "dataset_type": cls.tag,
            "schema_version": schema.SCHEMA_VERSION,
            "meta": dict(meta or {}),
        }
        return cls(xr.Dataset(variables, coords=xr.Coordinates(labelled), attrs=attrs), models)

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
        """Errors (n,), cm-2 s-1 TeV-1: the mean of the two sides where they are not symmetric."""
        err = self.array("dnde_err")
        if err is not None:
            return err
        low, high = self.array("dnde_errn"), self.array("dnde_errp")
        if low is None or high is None:
            raise DataError("flux points without errors", where=f"dataset {self.name}")
        return np.asarray(0.5 * (low + high))

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Number of points."""
        return self.dnde.shape

    @property
    def mask_valid(self) -> xr.DataArray:
        """Points that have a flux and an error, and are no upper limits."""
        valid = np.isfinite(self.dnde.values) & np.isfinite(self.error) & (self.error > 0)
        limits = self.array("is_ul")
        return self._label(valid if limits is None else valid & ~limits, "dnde", "mask_valid")

    @property
    def mask(self) -> xr.DataArray:
        """Points that are valid, safe, and chosen for the fit."""
        chosen = super().mask
        return self.mask_valid if chosen is None else self.mask_valid & chosen

    def flux_pred(self) -> xr.DataArray:
        """Predicted differential fluxes (n,), cm-2 s-1 TeV-1: the sum of the models' spectra."""
        total = np.zeros(self.data_shape)
        for model in self.sky_models:
            if model.temporal_model is not None:
                raise UnsupportedError(
                    f"the model {model.name!r} varies in time",
                    where=f"dataset {self.name}",
                    hint="Flux points have no time of their own: leave the temporal model out",
                )
            total += model.spectral_model.values(self.energy) * _PER_CM2
        return self._label(total, "dnde", "flux_pred")

    def stat_array(self) -> xr.DataArray:
        """((flux - prediction) / error)^2 of each point, whatever the mask; 0 for those that are not valid."""
        valid = self.mask_valid.values
        pull = np.divide(
            self.dnde.values - self.flux_pred().values, self.error, out=np.zeros(self.data_shape), where=valid
        )
        return self._label(pull**2, "dnde", "stat")

    def _data_and_prediction(self) -> tuple[xr.DataArray, xr.DataArray]:
        return self.dnde, self.flux_pred()

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


def _values(values: Any, unit: u.UnitBase | None) -> NDArray[Any]:
    """Numbers in a unit; bare ones are in it already."""
    if isinstance(values, u.Quantity) and unit is not None:
        try:
            return np.asarray(values.to_value(unit))
        except u.UnitConversionError as error:
            raise DataError(
                f"unit {values.unit} cannot be converted to {unit}", where="flux points"
            ) from error
    return np.atleast_1d(np.asarray(values))


def _variable(
    name: str, values: NDArray[Any], spec: schema.Variable, extra: Mapping[str, str] | None = None
) -> xr.Variable:
    attrs = {"long_name": spec.long_name, **({"units": spec.units} if spec.units else {}), **(extra or {})}
    return xr.Variable(spec.dims[0], np.asarray(values, dtype=spec.dtype), attrs)
