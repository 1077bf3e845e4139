"""`TemplateSpatialModel`: a map of the sky, perhaps one an energy, as a shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray
from regions import RectangleSkyRegion

from gammaflow.config import expand_path
from gammaflow.errors import GeometryError, ModelError
from gammaflow.maps import WcsGeom
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.spatial.base import PER_SR, SpatialModel, center_parameters
from gammaflow.modeling.spatial.interpolation import (
    BetweenPixels,
    bin_means,
    log_interpolate,
    plane_edges,
    plane_numbers,
)
from gammaflow.modeling.units import internal_factor, internal_unit

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TemplateMap:
    """An image or a cube, with its geometry; shared by copies of a model.

    Parameters
    ----------
    geom : WcsGeom
        The image's geometry.
    data : (ny, nx) or (E, ny, nx)
        Values, 0 where there is none.
    unit : Unit
        Their unit.
    energy : (E,), optional
        Energies of the images in TeV, rising.
    """

    geom: WcsGeom
    data: Floats
    unit: u.UnitBase = PER_SR
    energy: Floats | None = None

    def __post_init__(self) -> None:
        shape = self.geom.shape_image if self.energy is None else (len(self.energy), *self.geom.shape_image)
        if self.data.shape != shape:
            raise ModelError(f"a template of shape {self.data.shape} for a geometry of shape {shape}")
        if np.any(self.data < 0) or not np.any(self.data > 0):
            raise ModelError(
                "a template with negative values" if np.any(self.data < 0) else "a template of zeros",
                hint="Clip it at 0, or check its unit and its mask",
            )
        if self.energy is not None and (np.any(np.diff(self.energy) <= 0) or self.energy[0] <= 0):
            raise ModelError("a template whose energies do not rise")
        self.data.flags.writeable = False

    def __deepcopy__(self, memo: dict[int, Any]) -> TemplateMap:
        return self

    @classmethod
    def read(cls, filename: str | Path) -> TemplateMap:
        """Read a FITS image, or a cube with energies in an HDU ``*_BANDS``, ``ENERGIES`` or ``EBOUNDS``.

        NaN count as 0. Without BUNIT the unit is sr-1.

        Raises
        ------
        ModelError
            No such file, no image, no energies, an unknown unit.
        """
        path = expand_path(str(filename))
        if not path.is_file():
            raise ModelError("there is no such file", where=str(path), hint="Check the template's filename")
        try:
            with fits.open(path, memmap=False) as hdus:
                image = next((hdu for hdu in hdus if hdu.is_image and hdu.data is not None), None)
                if image is None:
                    raise ModelError("has no image", where=str(path))
                data = np.nan_to_num(np.asarray(image.data, dtype=np.float64), posinf=0.0, neginf=0.0)
                energy = None if data.ndim == 2 or data.shape[0] == 1 else _read_energies(hdus, image.name)
                geom = WcsGeom.from_header(image.header, where=str(path))
                unit = u.Unit(image.header.get("BUNIT") or "sr-1")
        except OSError as error:
            raise ModelError(f"is no FITS file: {error}", where=str(path)) from None
        except (GeometryError, ValueError) as error:
            raise ModelError(f"cannot be used: {error}", where=str(path)) from None
        if unit == u.dimensionless_unscaled:
            unit = PER_SR
        try:
            return cls(geom, data if energy is not None else data.reshape(data.shape[-2:]), unit, energy)
        except ModelError as error:
            raise error.at(str(path)) from None

    def write(self, filename: str | Path, overwrite: bool = False) -> None:
        """Write as Gammapy's maps are: image or cube in the primary HDU, energies in PRIMARY_BANDS."""
        path = expand_path(str(filename))
        if path.exists() and not overwrite:
            raise ModelError("is there already", where=str(path), hint="Use overwrite=True or another name")
        header = fits.Header(list(self.geom.header.items()))
        header["BUNIT"] = self.unit.to_string("fits")
        hdus = fits.HDUList([fits.PrimaryHDU(self.data, header)])
        if self.energy is not None:
            hdus[0].header["BANDSHDU"] = "PRIMARY_BANDS"
            edges = self.energy_edges
            columns = {
                "CHANNEL": np.arange(len(self.energy)),
                "ENERGY_TRUE": self.energy * u.TeV,
                "ENERGY_TRUE_MIN": edges[:-1] * u.TeV,
                "ENERGY_TRUE_MAX": edges[1:] * u.TeV,
            }
            bands = fits.BinTableHDU(QTable(columns), name="PRIMARY_BANDS")
            bands.header["AXCOLS1"] = "ENERGY_TRUE_MIN,ENERGY_TRUE_MAX"
            bands.header["INTERP1"] = "log"
            hdus.append(bands)
        hdus.writeto(path, overwrite=overwrite)

    @property
    def energy_edges(self) -> Floats:
        """Edges half-way between the energies in ln E, (E + 1,) TeV."""
        assert self.energy is not None
        return plane_edges(self.energy)

    def normalized(self) -> TemplateMap:
        """Of integral 1 over the map, each energy by itself, in sr-1."""
        total = self.data.sum(axis=(-2, -1), keepdims=True)
        share = np.divide(self.data, total, out=np.zeros_like(self.data), where=total > 0)
        return replace(self, data=share / self.geom.solid_angle(), unit=PER_SR)

    def interpolate(self, lon: Floats, lat: Floats, energy: Floats | None = None) -> Floats:
        """Values in the internal unit: linear in ln(value) between pixel centres and ln E, 0 off the map.

        Parameters
        ----------
        lon, lat : array
            deg, in the map's frame.
        energy : array, optional
            TeV; for a cube. All broadcast.
        """
        x, y = self.geom.sky_to_pix(lon, lat)
        coordinates = [y, x]
        if self.energy is not None:
            coordinates.insert(0, plane_numbers(self.energy, np.asarray(energy)))
        values = log_interpolate(self.data, np.broadcast_arrays(*coordinates))
        return values * internal_factor(self.unit)

    def interpolate_bins(self, lon: Floats, lat: Floats, edges: Floats) -> Floats:
        """Means of a cube over energy bins, at positions (...) as `interpolate` has them.

        Parameters
        ----------
        lon, lat : array (...)
            deg, in the map's frame.
        edges : array (K + 1,)
            TeV.

        Returns
        -------
        array (K, ...)
        """
        assert self.energy is not None
        x, y = np.broadcast_arrays(*self.geom.sky_to_pix(lon, lat))
        ny, nx = self.geom.shape_image
        found = np.zeros((len(edges) - 1, *x.shape))
        inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
        if not inside.any():
            return found
        # of a map of the whole sky only the part that is asked for
        points, box = [], []
        for at, n in ((y[inside], ny), (x[inside], nx)):
            box.append(slice(max(int(at.min()) - 1, 0), min(int(at.max()) + 3, n)))
            points.append(at - box[-1].start)
        part = self.data[(slice(None), *box)]
        between = BetweenPixels(points[0], points[1], part.shape[1:])
        for k, plane in enumerate(bin_means(part, self.energy, edges)):
            found[k][inside] = between.values(plane)
        found *= internal_factor(self.unit)
        return found


class TemplateSpatialModel(SpatialModel):
    """A map of the sky as a shape; ``lon_0, lat_0`` move it, by differences of longitude and latitude.

    Parameters
    ----------
    map : TemplateMap
        Image, or a cube with energies.
    normalize : bool
        Whether to make its integral 1 (each energy by itself).
    filename : str or Path, optional
        Where the map is; files of models name it.
    lon_0, lat_0 : Quantity, optional
        Position of the map's centre, by default where it is; frozen by default.
    """

    tag = ("TemplateSpatialModel", "template")
    lon_0, lat_0 = center_parameters()
    lon_0.frozen = lat_0.frozen = True

    def __init__(
        self,
        map: TemplateMap,
        normalize: bool = True,
        filename: str | Path | None = None,
        lon_0: Any = None,
        lat_0: Any = None,
    ) -> None:
        center = map.geom.center_lonlat
        lon_0 = center[0] * u.deg if lon_0 is None else lon_0
        lat_0 = center[1] * u.deg if lat_0 is None else lat_0
        super().__init__(frame=map.geom.frame, lon_0=lon_0, lat_0=lat_0)
        self.normalize = normalize
        self.filename = None if filename is None else str(filename)
        self.map = map.normalized() if normalize else map

    @classmethod
    def read(cls, filename: str | Path, normalize: bool = True) -> TemplateSpatialModel:
        """Read the map of a FITS file, see `TemplateMap.read`."""
        return cls(TemplateMap.read(filename), normalize=normalize, filename=filename)

    def write(self, filename: str | Path | None = None, overwrite: bool = False) -> None:
        """Write the map, by default to `filename`; a normalised one as flux per pixel, without unit."""
        if filename is not None:
            self.filename = str(filename)
        if self.filename is None:
            raise ModelError("has no filename", where=self.tag[0], hint="Give one to .write()")
        written = self.map
        if self.normalize:
            # what a file holds is taken as flux per pixel when it is normalised: so it comes back as it is
            written = replace(written, data=written.data * written.geom.solid_angle(), unit=u.Unit(""))
        written.write(self.filename, overwrite)

    @property
    def is_energy_dependent(self) -> bool:  # type: ignore[override]  # follows from the map
        """Whether the map is a cube."""
        return self.map.energy is not None

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `values`: sr-1 if normalised, else that of the map."""
        return internal_unit(self.map.unit)

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Half of the map's longer side."""
        return max(self.map.geom.width) / 2 * u.deg

    def evaluate(
        self, lon: ArrayLike, lat: ArrayLike, energy: ArrayLike | None = None, **parameters: Any
    ) -> Floats:
        """Values at positions in deg (and energies in TeV); parameters left out are the model's."""
        at = None if energy is None else np.asarray(energy, dtype=np.float64)
        return self.map.interpolate(*self._on_map(lon, lat, parameters), at)

    def values_in_bins(self, lon: ArrayLike, lat: ArrayLike, edges: Floats) -> Floats:
        """Values in energy bins (K, ...): of a cube that is a flux, which falls steeply within a bin, the mean over
        the bin; of one that only is a shape, that at the bin's logarithmic centre.

        Parameters
        ----------
        lon, lat : array (...)
            deg.
        edges : array (K + 1,)
            TeV.
        """
        if not self.is_energy_dependent or self.map.unit.is_equivalent(PER_SR):
            return super().values_in_bins(lon, lat, edges)
        return self.map.interpolate_bins(*self._on_map(lon, lat, {}), edges)

    def _on_map(self, lon: ArrayLike, lat: ArrayLike, parameters: dict[str, Any]) -> tuple[Floats, Floats]:
        """Where positions would be had the map not been moved."""
        p = {**{name: par.internal for name, par in self._pars.items()}, **parameters}
        center = self.map.geom.center_lonlat
        return np.asarray(lon) - (p["lon_0"] - center[0]), np.asarray(lat) - (p["lat_0"] - center[1])

    def to_region(self) -> RectangleSkyRegion:
        """The outline of the map."""
        width, height = self.map.geom.width
        return RectangleSkyRegion(self.map.geom.center_skydir, width=width * u.deg, height=height * u.deg)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML; the map must have a file."""
        if self.filename is None:
            raise ModelError(
                "a template map without a file cannot stand in a file of models",
                where=self.tag[0],
                hint="Write it first: .write('template.fits')",
            )
        data = super().to_dict(full_output)
        data["spatial"].update(filename=self.filename, normalize=self.normalize, unit=str(self.map.unit))
        return data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> TemplateSpatialModel:
        check_keys(entry, ("type", "frame", "parameters", "filename", "normalize", "unit"))
        if "filename" not in entry:
            raise ModelError("has no filename", hint="Add 'filename:', a FITS image or cube")
        parameters = cls._read_parameters(entry) if entry.get("parameters") else {}
        return cls(
            TemplateMap.read(entry["filename"]),
            normalize=bool(entry.get("normalize", True)),
            filename=entry["filename"],
            **parameters,
        )

    def __repr__(self) -> str:
        return f"TemplateSpatialModel({self.filename or 'map'}, shape {self.map.data.shape})"

    __str__ = __repr__


def _read_energies(hdus: fits.HDUList, name: str) -> Floats:
    """Energies in TeV of a cube's planes: stored ones, or the log centres of their bins."""
    for wanted in (f"{name}_BANDS", "PRIMARY_BANDS", "ENERGIES", "EBOUNDS"):
        if wanted not in hdus:
            continue
        table = QTable.read(hdus[wanted])
        columns = {column.upper(): column for column in table.colnames}
        center = next((columns[c] for c in ("ENERGY_TRUE", "ENERGY") if c in columns), None)
        if center is not None:
            energy = u.Quantity(table[center])
        elif "E_MIN" in columns and "E_MAX" in columns:
            energy = np.sqrt(u.Quantity(table[columns["E_MIN"]]) * u.Quantity(table[columns["E_MAX"]]))
        else:
            continue
        unit = u.MeV if energy.unit == u.dimensionless_unscaled else energy.unit
        return np.asarray(energy.value * unit.to(u.TeV), dtype=np.float64)
    raise ModelError(f"a cube without energies (no HDU {name}_BANDS or ENERGIES)")
