"""Point spread functions given by the parameters of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import CorruptFileError
from gammaflow.irf.axis import Floats, IrfAxis, interpolate, plain
from gammaflow.irf.gadf import GadfRow, convert
from gammaflow.irf.psf import PsfIrf, from_deg2
from gammaflow.irf.response import named_axes
from gammaflow.maps import MapAxis


class ParametricPSF(PsfIrf):
    """A profile whose parameters stand in tables over true energy and offset.

    The parameters are interpolated linearly, extrapolated without limit and clipped at zero; the profile
    is evaluated with the result.

    Parameters
    ----------
    axes : sequence of IrfAxis or MapAxis
        True energy and offset.
    data : mapping
        Parameter name -> table, shape (n_energy, n_offset).
    meta, is_pointlike
        As of `Irf`.
    """

    required_axes = ("energy_true", "offset")
    parameters: ClassVar[tuple[str, ...]]
    parameter_units: ClassVar[dict[str, str]]

    def __init__(
        self,
        axes: Sequence[IrfAxis | MapAxis],
        data: Mapping[str, ArrayLike],
        meta: Mapping[str, Any] | fits.Header | None = None,
        is_pointlike: bool = False,
    ) -> None:
        self.axes = named_axes(axes, self.required_axes, type(self).__name__)
        if set(data) != set(self.parameters):
            raise CorruptFileError(
                f"parameters {', '.join(data)}, where {', '.join(self.parameters)} are needed",
                where=type(self).__name__,
            )
        self.tables: dict[str, NDArray[np.floating]] = {}
        for name in self.parameters:
            table = np.asarray(data[name])
            table = table if table.dtype.kind == "f" else table.astype(np.float64)
            if table.shape != self.shape:
                raise CorruptFileError(
                    f"{name} of shape {table.shape}, where the axes give {self.shape}",
                    where=type(self).__name__,
                )
            if name.startswith("sigma"):
                # Files mark a component that is not there with a width of zero, which cannot be divided by
                table = np.where(table == 0, table.dtype.type(1), table)
            self.tables[name] = table
        self._init_common(meta, is_pointlike)

    @property
    def data(self) -> dict[str, NDArray[np.floating]]:  # type: ignore[override]  # one table a parameter
        """Parameter name -> table, shape (n_energy, n_offset)."""
        return self.tables

    @classmethod
    def from_hdu(cls, hdu: fits.BinTableHDU, where: str = "") -> Self:
        """Read from a GADF table; see `Irf.from_hdu`."""
        row = GadfRow(hdu, where)
        axes = tuple(row.axis(name) for name in cls.required_axes)
        tables = {}
        for name in cls.parameters:
            column = name.upper()
            table = row.table(column, axes)
            needed = cls.parameter_units.get(name)
            tables[name] = (
                table if needed is None else convert(table, row.unit(column), needed, row.place(column))
            )
        return cls(axes, tables, meta=row.header, is_pointlike=row.is_pointlike)

    def _columns(self) -> dict[str, tuple[NDArray[np.floating], str]]:
        return {
            name.upper(): (self.tables[name], self.parameter_units.get(name, "")) for name in self.parameters
        }

    def _checked_tables(self) -> dict[str, NDArray[np.floating]]:
        return {name.upper(): table for name, table in self.tables.items()}

    def evaluate_parameters(self, energy_true: Any, offset: Any) -> dict[str, Floats]:
        """Parameters at energies (TeV) and offsets (deg) that broadcast, clipped at zero."""
        points = (plain(energy_true, "TeV"), plain(offset, "deg"))
        return {
            name: np.maximum(interpolate(self.axes, table.astype(np.float64), points), 0.0)
            for name, table in self.tables.items()
        }

    def profile(self, rad: Floats, parameters: dict[str, Floats]) -> Floats:
        """Density in deg-2 at ``rad`` (deg) for parameters that broadcast with it."""
        raise NotImplementedError

    def evaluate(self, **coords: Any) -> Floats:
        """Density in sr-1 at ``rad``, ``offset`` (deg) and ``energy_true`` (TeV) that broadcast."""
        rad, energy, offset = self._points(coords, ("rad", "energy_true", "offset"))
        values = from_deg2(self.profile(rad, self.evaluate_parameters(energy, offset)))
        return np.where(np.isfinite(values), values, 0.0)


class EnergyDependentMultiGaussPSF(ParametricPSF):
    """Sum of three Gaussians (GADF ``psf_3gauss``).

    ``psf(r) = scale (exp(-r^2 / 2 sigma_1^2) + ampl_2 exp(-r^2 / 2 sigma_2^2) + ampl_3 ...)``, normalised
    so that its integral is one.
    """

    tag = "psf_3gauss"
    extname = "PSF_2D_GAUSS"
    parameters = ("sigma_1", "sigma_2", "sigma_3", "scale", "ampl_2", "ampl_3")
    parameter_units: ClassVar[dict[str, str]] = {"sigma_1": "deg", "sigma_2": "deg", "sigma_3": "deg"}

    @staticmethod
    def fractions(parameters: dict[str, Floats]) -> list[tuple[Floats, Floats]]:
        """Fraction of the events and width in deg of each component."""
        amplitudes = (np.ones_like(parameters["scale"]), parameters["ampl_2"], parameters["ampl_3"])
        sigmas = [parameters[f"sigma_{i}"] for i in (1, 2, 3)]
        norms = [parameters["scale"] * a * s**2 for a, s in zip(amplitudes, sigmas, strict=True)]
        total = norms[0] + norms[1] + norms[2]
        with np.errstate(invalid="ignore", divide="ignore"):
            return [(np.where(total > 0, n / total, 0.0), s) for n, s in zip(norms, sigmas, strict=True)]

    def profile(self, rad: Floats, parameters: dict[str, Floats]) -> Floats:
        """Density in deg-2; see `ParametricPSF.profile`."""
        value: Floats = np.zeros(())
        with np.errstate(invalid="ignore", divide="ignore"):
            for fraction, sigma in self.fractions(parameters):
                gauss = fraction / (2 * np.pi * sigma**2) * np.exp(-0.5 * (rad / sigma) ** 2)
                value = value + np.where(fraction > 0, gauss, 0.0)
        return value

    def containment(self, rad: Any, energy_true: Any, offset: Any) -> Floats:
        """Fraction of events within ``rad``: ``sum_i f_i (1 - exp(-r^2 / 2 sigma_i^2))``."""
        r = plain(rad, "deg")
        value: Floats = np.zeros(())
        with np.errstate(invalid="ignore", divide="ignore"):
            for fraction, sigma in self.fractions(self.evaluate_parameters(energy_true, offset)):
                value = value + np.where(fraction > 0, fraction * -np.expm1(-0.5 * (r / sigma) ** 2), 0.0)
        return value


class PSFKing(ParametricPSF):
    """King profile (GADF ``psf_king``).

    ``psf(r) = (1 - 1 / gamma) / (2 pi sigma^2) (1 + r^2 / (2 gamma sigma^2))^-gamma``.
    """

    tag = "psf_king"
    extname = "PSF_2D_KING"
    parameters = ("gamma", "sigma")
    parameter_units: ClassVar[dict[str, str]] = {"sigma": "deg"}

    def profile(self, rad: Floats, parameters: dict[str, Floats]) -> Floats:
        """Density in deg-2; see `ParametricPSF.profile`."""
        gamma, sigma = parameters["gamma"], parameters["sigma"]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (1 - 1 / gamma) / (2 * np.pi * sigma**2) * (1 + rad**2 / (2 * gamma * sigma**2)) ** -gamma

    def containment(self, rad: Any, energy_true: Any, offset: Any) -> Floats:
        """Fraction of events within ``rad``: ``1 - (1 + r^2 / (2 gamma sigma^2))^(1 - gamma)``."""
        parameters = self.evaluate_parameters(energy_true, offset)
        gamma, sigma = parameters["gamma"], parameters["sigma"]
        with np.errstate(invalid="ignore", divide="ignore"):
            value = 1 - (1 + plain(rad, "deg") ** 2 / (2 * gamma * sigma**2)) ** (1 - gamma)
        return np.where(np.isfinite(value), value, 0.0)
