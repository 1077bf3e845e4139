"""`EBLAbsorptionNormSpectralModel`: absorption by the extragalactic background light, from a table."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from gammaflow.config import expand_path
from gammaflow.errors import ModelError
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel
from gammaflow.modeling.spectral.tabulated import TINY, _linear, _table_to_dict, table_from_dict

BUILTIN = {
    "franceschini": "$GAMMAPY_DATA/ebl/ebl_franceschini.fits.gz",
    "dominguez": "$GAMMAPY_DATA/ebl/ebl_dominguez11.fits.gz",
    "finke": "$GAMMAPY_DATA/ebl/frd_abs.fits.gz",
    "franceschini17": "$GAMMAPY_DATA/ebl/ebl_franceschini_2017.fits.gz",
    "saldana-lopez21": "$GAMMAPY_DATA/ebl/ebl_saldana-lopez_2021.fits.gz",
}


class EBLAbsorptionNormSpectralModel(AnalyticSpectralModel):
    """Transmission ``T(E, redshift)^alpha_norm`` from a table, as a factor for an intrinsic spectrum.

    ln T is interpolated, and extrapolated, linearly in ln E and in redshift; T is at most 1.

    Parameters
    ----------
    energy : Quantity (N,)
        Energies of the table.
    param : array (M,)
        Redshifts of the table.
    data : array (M, N)
        Transmission.
    redshift, alpha_norm : float
        Parameters, frozen by default.
    """

    tag = ("EBLAbsorptionNormSpectralModel", "ebl-norm")
    redshift = Parameter("redshift", 0.1, frozen=True)
    alpha_norm = Parameter("alpha_norm", 1.0, frozen=True)
    is_norm_spectral_model = True

    def __init__(
        self,
        energy: u.Quantity,
        param: ArrayLike,
        data: ArrayLike,
        redshift: Any = 0.1,
        alpha_norm: Any = 1.0,
    ) -> None:
        super().__init__(redshift=redshift, alpha_norm=alpha_norm)
        self.energy = u.Quantity(energy)
        self.param = u.Quantity(param)
        self.data = u.Quantity(data)
        self.filename: Path | None = None
        redshifts = np.asarray(self.param.value, dtype=np.float64)
        table = np.asarray(self.data.to_value(""), dtype=np.float64)
        energies = np.asarray(self.energy.to_value(u.TeV), dtype=np.float64)
        if table.shape != (redshifts.size, energies.size) or min(table.shape) < 2:
            raise ModelError(
                f"a table of shape {table.shape} for {redshifts.size} redshifts and {energies.size} energies",
                where=self.tag[0],
            )
        if (
            np.any(np.diff(redshifts) <= 0)
            or np.any(np.diff(energies) <= 0)
            or not np.all(np.isfinite(table))
        ):
            raise ModelError("axes that do not rise, or a table that is not finite", where=self.tag[0])
        self._redshifts, self._log_energies = redshifts, np.log(energies)
        self._log_table = np.log(np.maximum(table, TINY))

    @classmethod
    def read(
        cls, filename: str | Path, redshift: Any = 0.1, alpha_norm: Any = 1.0
    ) -> EBLAbsorptionNormSpectralModel:
        """Read an XSPEC table model (HDUs PARAMETERS, ENERGIES in keV, SPECTRA).

        Parameters
        ----------
        filename : str or Path
            Environment variables in it are expanded.
        redshift, alpha_norm : float
        """
        path = expand_path(str(filename))
        if not path.is_file():
            raise ModelError(
                "there is no such file", where=str(path), hint="Give the file of an EBL table model"
            )
        try:
            with fits.open(path, memmap=False) as hdus:
                redshifts, rows = np.unique(np.array(hdus["PARAMETERS"].data["VALUE"][0]), return_index=True)
                edges = hdus["ENERGIES"].data
                low = np.asarray(edges["ENERG_LO"], dtype=np.float64)
                high = np.asarray(edges["ENERG_HI"], dtype=np.float64)
                table = np.asarray(hdus["SPECTRA"].data["INTPSPEC"][rows], dtype=np.float64)
        except (OSError, KeyError) as error:
            raise ModelError(f"is no XSPEC table model: {error}", where=str(path)) from None
        energy = u.Quantity(np.sqrt(low * high), "keV").to("TeV")
        model = cls(energy, redshifts.astype(np.float64), table, redshift, alpha_norm)
        model.filename = path
        return model

    @classmethod
    def read_builtin(
        cls, reference: str = "dominguez", redshift: Any = 0.1, alpha_norm: Any = 1.0
    ) -> EBLAbsorptionNormSpectralModel:
        """Read from $GAMMAPY_DATA: franceschini, dominguez, finke, franceschini17 or saldana-lopez21."""
        if reference not in BUILTIN:
            raise ModelError(f"unknown EBL table {reference!r}", hint=f"There are {', '.join(BUILTIN)}")
        return cls.read(BUILTIN[reference], redshift, alpha_norm)

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        redshift, alpha_norm = point
        row, _ = _linear(self._redshifts, np.asarray(redshift.real))
        low, high = self._redshifts[row], self._redshifts[row + 1]
        column, fraction = _linear(self._log_energies, np.log(energy))
        table = (1 - fraction) * self._log_table[:, column] + fraction * self._log_table[:, column + 1]
        slope = (table[row + 1] - table[row]) / (high - low)
        depth = table[row] + (redshift - low) * slope
        slope = np.where(depth.real < 0, slope, 0.0)
        depth = np.where(depth.real < 0, depth, 0.0)
        # transmission below the smallest number is none, as in the table
        seen = depth.real > np.log(2 * TINY)
        values = np.where(seen, np.exp(alpha_norm * depth), 0.0)
        return values, np.array([alpha_norm * slope * values, depth * values])

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        return self._values_and_gradient(energy, point)[0]

    def evaluate(self, energy: NDArray[np.float64], **parameters: Any) -> NDArray[Any]:
        """Values at energies in TeV."""
        own = dict(zip(self._pars, self._vector(), strict=True))
        return self._values(np.asarray(energy), np.array(list({**own, **parameters}.values())))

    def copy(self) -> EBLAbsorptionNormSpectralModel:
        """Copy with parameters of its own that shares the table."""
        new = copy.copy(self)
        new.__dict__["_pars"] = {name: p.copy() for name, p in self._pars.items()}
        return new

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML: with the file's name, or the table if there is none."""
        data = super().to_dict(full_output)
        if self.filename is not None:
            data["spectral"]["filename"] = str(self.filename)
        else:
            data["spectral"].update(
                energy=_table_to_dict(self.energy),
                param=_table_to_dict(self.param),
                values=_table_to_dict(self.data),
            )
        return data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> EBLAbsorptionNormSpectralModel:
        check_keys(entry, ("type", "parameters", "filename", "energy", "param", "values"))
        parameters = cls._read_parameters(entry)
        if "filename" in entry:
            return cls.read(entry["filename"], **parameters)
        tables = {key: table_from_dict(entry, key) for key in ("energy", "param", "values")}
        return cls(tables["energy"], tables["param"], tables["values"], **parameters)

    def __repr__(self) -> str:
        return f"EBLAbsorptionNormSpectralModel({self.redshift.value:g}, {self.filename or 'table'})"
