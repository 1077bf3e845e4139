"""`CountsCube`: counts in the pixels and energy bins of a dataset, kept in a FITS file as Gammapy's maps are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from numpy.typing import NDArray

from gammaflow.config import expand_path
from gammaflow.errors import GeometryError, ModelError
from gammaflow.maps import WcsGeom

Floats = NDArray[np.float64]

_HINT = "It must be a cube with a table PRIMARY_BANDS that has ENERGY_MIN and ENERGY_MAX"


@dataclass(frozen=True, eq=False)
class CountsCube:
    """Counts with their geometry; shared by copies of a model.

    Parameters
    ----------
    geom : WcsGeom
        The image's geometry.
    edges : array (E + 1,)
        Of the bins of reconstructed energy, TeV.
    data : array (E, ny, nx)
    """

    geom: WcsGeom
    edges: Floats
    data: Floats

    def __post_init__(self) -> None:
        shape = (len(self.edges) - 1, *self.geom.shape_image)
        if self.data.shape != shape:
            raise ModelError(f"counts of shape {self.data.shape} for a geometry of shape {shape}")
        if np.any(np.diff(self.edges) <= 0) or self.edges[0] <= 0:
            raise ModelError("counts whose energies do not rise")
        if not np.isfinite(self.data).all():
            raise ModelError("counts that are not finite", hint="Set them to 0 where there are none")
        self.data.flags.writeable = False

    def __deepcopy__(self, memo: dict[int, Any]) -> CountsCube:
        return self

    @property
    def centers(self) -> Floats:
        """Logarithmic centres of the bins (E,), TeV."""
        return np.asarray(np.sqrt(self.edges[1:] * self.edges[:-1]))

    @classmethod
    def read(cls, filename: str | Path) -> CountsCube:
        """Read a FITS cube over reconstructed energy.

        Raises
        ------
        ModelError
            No such file, no cube, no energy bins, a unit of another kind.
        """
        path = expand_path(str(filename))
        if not path.is_file():
            raise ModelError("there is no such file", where=str(path), hint="Check the model's filename")
        try:
            with fits.open(path, memmap=False) as hdus:
                image = next((hdu for hdu in hdus if hdu.is_image and hdu.data is not None), None)
                if image is None or image.data.ndim != 3:
                    raise ModelError("has no cube", where=str(path), hint=_HINT)
                if not u.Unit(image.header.get("BUNIT") or "").is_equivalent(u.dimensionless_unscaled):
                    raise ModelError(
                        f"is in {image.header['BUNIT']}, not in counts",
                        where=str(path),
                        hint="A flux is a TemplateSpatialModel",
                    )
                data = np.asarray(image.data, dtype=np.float64)
                edges = _edges(hdus, image.name)
                return cls(WcsGeom.from_header(image.header, where=str(path)), edges, data)
        except OSError as error:
            raise ModelError(f"is no FITS file: {error}", where=str(path)) from None
        except (GeometryError, ValueError) as error:
            raise ModelError(f"cannot be used: {error}", where=str(path)) from None

    def write(self, filename: str | Path, overwrite: bool = False) -> None:
        """Write as Gammapy's maps are: the cube in the primary HDU, its bins in PRIMARY_BANDS."""
        path = expand_path(str(filename))
        if path.exists() and not overwrite:
            raise ModelError("is there already", where=str(path), hint="Use overwrite=True or another name")
        primary = fits.PrimaryHDU(self.data, fits.Header(list(self.geom.header.items())))
        primary.header["BANDSHDU"] = "PRIMARY_BANDS"
        primary.header["BUNIT"] = ""
        columns = {
            "CHANNEL": np.arange(len(self.data)),
            "ENERGY": self.centers * u.TeV,
            "ENERGY_MIN": self.edges[:-1] * u.TeV,
            "ENERGY_MAX": self.edges[1:] * u.TeV,
        }
        bands = fits.BinTableHDU(QTable(columns), name="PRIMARY_BANDS")
        bands.header["AXCOLS1"] = "ENERGY_MIN,ENERGY_MAX"
        bands.header["INTERP1"] = "log"
        fits.HDUList([primary, bands]).writeto(path, overwrite=overwrite)


def _edges(hdus: fits.HDUList, name: str) -> Floats:
    """Edges in TeV of a cube's bins."""
    wanted = next((n for n in (f"{name}_BANDS", "PRIMARY_BANDS", "EBOUNDS") if n in hdus), None)
    if wanted is None:
        raise ModelError("has no table of energies", hint=_HINT)
    table = QTable.read(hdus[wanted])
    columns = {column.upper(): column for column in table.colnames}
    pair = next(
        (p for p in (("ENERGY_MIN", "ENERGY_MAX"), ("E_MIN", "E_MAX")) if set(p) <= set(columns)), None
    )
    if pair is None:
        raise ModelError("has no bins of reconstructed energy", hint=_HINT)
    low, high = (u.Quantity(table[columns[column]]) for column in pair)
    if low.unit == u.dimensionless_unscaled:
        raise ModelError("has energies without a unit", hint=_HINT)
    low, high = (np.asarray(edge.to_value("TeV"), dtype=np.float64) for edge in (low, high))
    if not np.allclose(low[1:], high[:-1], rtol=1e-6):
        raise ModelError("has energy bins that do not touch", hint=_HINT)
    return np.append(low, high[-1])
