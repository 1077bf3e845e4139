"""Datasets of counts as one FITS file in the GADF sky-map format, as Gammapy reads and writes them.

Each array is an HDU with the table of its axes (``*_BANDS``), and of a spectrum that of its region
(``*_REGION``). Good time intervals are in ``GTI``, observations in ``META_TABLE``. Source:
gamma-astro-data-formats, "Sky maps"; names of the HDUs as Gammapy has them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.datasets import (
    CountsDataset,
    Dataset,
    DatasetGeometry,
    MapDatasetGeometry,
    SpectrumDatasetGeometry,
)
from gammaflow.datasets.dataset import dataset_type
from gammaflow.datasets.geometry import DEFAULT_BINSZ_IRF, default_rad_axis
from gammaflow.datasets.labelling import geometry_from_dict
from gammaflow.datasets.schema import LAYOUTS
from gammaflow.errors import CorruptFileError, GeometryError, MissingHduError, UnitError, UnsupportedError
from gammaflow.io.fits_files import FitsDocument, write_fits
from gammaflow.io.fits_maps import FileMap, map_hdus, read_map, spectrum_hdus
from gammaflow.io.fits_psf import psf_on_grid
from gammaflow.io.fits_record import Record
from gammaflow.io.fits_rows import read_gti, read_observations, row_hdus, single_observation
from gammaflow.io.off_regions import off_meta, off_regions
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom

_VARIABLES = {**LAYOUTS["MapDatasetOnOff"].variables, **LAYOUTS["MapDataset"].variables}
_RECO = ("counts", "background", "mask_safe", "mask_fit", "counts_off", "acceptance", "acceptance_off")
_NAMES = (*_RECO, "exposure", "edisp", "edisp_exposure", "psf", "psf_exposure")
_ON_OFF = ("counts_off", "acceptance", "acceptance_off")


def write_gadf(dataset: Dataset, path: str | Path, *, overwrite: bool = False) -> int:
    """Write a dataset of counts as FITS in the GADF sky-map format.

    Parameters
    ----------
    dataset : MapDataset, MapDatasetOnOff, SpectrumDataset or SpectrumDatasetOnOff
        What to write, with its background model.
    path : str or Path
        The file, gzipped when its name ends on ``.gz``.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    UnsupportedError
        For flux points.
    StorageError
        When it cannot be written: something is there, no space, no permission.
    """
    return write_fits(to_hdulist(dataset, str(path)), Path(path), overwrite=overwrite)


def to_hdulist(dataset: Dataset, where: str = "") -> fits.HDUList:
    """The HDUs of a dataset of counts in the GADF sky-map format; errors as for `write_gadf`."""
    if not isinstance(dataset, CountsDataset):
        raise UnsupportedError(
            f"a {dataset.tag} is not written in this format",
            where=where or f"dataset {dataset.name}",
            hint="Write it with `write_flux_points`, or to a name that ends on .zarr",
        )
    primary = fits.PrimaryHDU()
    primary.header["NAME"] = dataset.name
    primary.header["CREATOR"] = "gammaflow"
    hdus: list[Any] = []
    for name in (n for n in _NAMES if n in dataset.arrays):
        values = dataset.cube(name)
        if values is not None:
            hdus += _array_hdus(dataset, name, values)
    hdus += row_hdus(dataset)
    # The record comes first: it tells what is missing from a file that was cut off.
    record = Record.of(dataset, hdus).to_hdu()
    return fits.HDUList([primary, record, *hdus])


def from_hdulist(hdulist: fits.HDUList) -> Any:
    """The dataset of counts that some HDUs hold; errors as for `read_gadf`."""
    buffer = io.BytesIO()
    hdulist.writeto(buffer, output_verify="exception")
    return read_gadf(FitsDocument("HDU list", buffer.getvalue()))


def _array_hdus(dataset: CountsDataset, name: str, values: NDArray[Any]) -> list[Any]:
    geometry = dataset.geometry
    axes = _axes(geometry, name)
    values = values.reshape(*(axis.nbin for axis in reversed(axes)), *values.shape[-2:])
    unit = _VARIABLES[name].units
    if isinstance(geometry, SpectrumDatasetGeometry):
        region = off_regions(dataset) if name in ("counts_off", "acceptance_off") else None
        return spectrum_hdus(name.upper(), values, region or geometry.geom, axes, unit)
    assert isinstance(geometry, MapDatasetGeometry)  # there are two kinds
    geom = geometry.geom_irf if name.startswith(("psf", "edisp")) else geometry.image
    livetime = dataset.livetime
    meta = {"livetime": f"{livetime} s"} if name == "exposure" and np.isfinite(livetime) else {}
    return map_hdus(name.upper(), values, geom, axes, unit, meta)


def _axes(geometry: DatasetGeometry, name: str) -> list[MapAxis]:
    """Axes of an array, fastest first, as the format wants them: a weight has the other axis in one bin."""
    true = geometry.energy_axis_true
    if name in _RECO:
        return [geometry.energy_axis]
    if name == "exposure":
        return [true]
    if name.startswith("psf"):
        assert isinstance(geometry, MapDatasetGeometry)  # spectra have none
        inner = geometry.rad_axis
    else:
        inner = geometry.edisp_axis
    return [inner.squash() if name.endswith("exposure") else inner, true]


def read_gadf(path: str | Path | FitsDocument) -> Any:
    """Read a dataset of counts from FITS in the GADF sky-map format, of the type that the file holds.

    Of files that others wrote, a point spread function on another grid than the energy dispersion is brought onto
    that, see `psf_on_grid`; and a response whose weight is missing, or zero everywhere, is weighted with the
    exposure of the map under its pixels.

    Raises
    ------
    MissingFileError, CorruptFileError
        When there is no such file, or it is damaged.
    MissingHduError
        When it holds no dataset, or parts of one are missing.
    UnitError, GeometryError, UnsupportedError
        When a map has a unit of another kind, does not fit to the others, or cannot be used here.
    """
    document = path if isinstance(path, FitsDocument) else FitsDocument(path)
    record = Record.read(document)
    if record is not None:
        record.require_hdus(document)
    maps = {n: read_map(document, n.upper(), _VARIABLES[n].units) for n in _NAMES if n.upper() in document}
    if not any(name in maps for name in _RECO):
        raise MissingHduError(
            f"there is no HDU COUNTS; the file has {', '.join(sorted(document.names)) or 'none'}",
            where=document.path,
            hint="It is no dataset in the GADF sky-map format",
        )
    is_map = isinstance(next(iter(maps.values())).geom, WcsGeom)
    parts = _Parts.of(maps, None if record is None else geometry_from_dict(record.geometry))
    geometry = parts.map_geometry() if is_map else parts.spectrum_geometry()
    kind: Any = dataset_type(_kind(maps, is_map, record, document))
    arrays = {n: _array(n, maps[n], geometry) for n in maps if n in kind.arrays}
    if record is None:
        arrays |= _weights(arrays, geometry, document)
    name = record.name if record else str(document.primary.get("NAME", "")).strip() or _stem(document)
    livetime = record.livetime if record else _livetime(document)
    gti = read_gti(document, record.time_reference if record else None)
    observations = read_observations(document)
    if record is None:
        observations = single_observation(observations, name, livetime, gti)
    return kind.from_arrays(
        geometry,
        name,
        gti=gti,
        observations=observations,
        livetime=livetime,
        models=record.background_model() if record else None,
        meta=record.meta if record else _off_meta(maps),
        **arrays,
    )


def _off_meta(maps: Mapping[str, FileMap]) -> dict[str, str]:
    on, off = (maps[n].geom if n in maps else None for n in ("counts", "counts_off"))
    return off_meta(on, off) if isinstance(on, RegionGeom) and isinstance(off, RegionGeom) else {}


def _kind(maps: Mapping[str, FileMap], is_map: bool, record: Record | None, document: FitsDocument) -> str:
    kind = "MapDataset" if is_map else "SpectrumDataset"
    if any(name in maps for name in _ON_OFF) or (record and record.dataset_type == f"{kind}OnOff"):
        kind += "OnOff"
    if record and record.dataset_type != kind:
        raise CorruptFileError(
            f"it says that it is a {record.dataset_type}, and has the maps of a {kind}",
            where=document.path,
            hint="Write the file again",
        )
    return kind


def _stem(document: FitsDocument) -> str:
    return Path(document.path).name.split(".")[0]


def _weights(
    arrays: Mapping[str, NDArray[Any]], geometry: DatasetGeometry, document: FitsDocument
) -> dict[str, NDArray[Any]]:
    """Weights of the responses that have none: the exposure under their pixels."""
    bare = [n for n in ("psf", "edisp") if n in arrays and not np.any(arrays.get(f"{n}_exposure", 0.0))]
    if bare and "exposure" not in arrays:
        raise MissingHduError(
            f"there is neither {bare[0].upper()}_EXPOSURE nor EXPOSURE",
            where=document.path,
            hint="A response needs a weight: write the file again with one of them",
        )
    if not bare:
        return {}
    exposure = arrays["exposure"].reshape(geometry.cube_shapes["exposure"])
    y, x = geometry.irf_centers_in_map()
    ny, nx = exposure.shape[1:]
    under = exposure[:, np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
    return {f"{n}_exposure": under.reshape(geometry.shapes[f"{n}_exposure"]) for n in bare}


def _livetime(document: FitsDocument) -> float:
    """The livetime among the metadata of the exposure, s; NaN when it is not there."""
    if "EXPOSURE" not in document:
        return float("nan")
    where = document.where("EXPOSURE")
    try:
        found = json.loads(str(document.header("EXPOSURE").get("META", "{}")) or "{}").get("livetime")
    except (ValueError, AttributeError) as error:
        raise CorruptFileError(f"the card META cannot be read ({error})", where=where) from error
    try:
        return float("nan") if found is None else float(u.Quantity(found).to_value("s"))
    except (TypeError, ValueError) as error:
        raise UnitError(f"the livetime is {found!r}, a time is needed", where=where) from error


@dataclass(frozen=True)
class _Parts:
    """What geometries are made of, as far as a file has them."""

    geom: WcsGeom | RegionGeom
    energy: MapAxis
    true: MapAxis
    rad: MapAxis | None
    migra: MapAxis | None
    geom_irf: WcsGeom | None

    @classmethod
    def of(cls, maps: Mapping[str, FileMap], known: DatasetGeometry | None) -> _Parts:
        """From the maps; what they do not have, and the last digits, from what is known besides."""
        first = next(m for n, m in maps.items() if n in _RECO)
        irf = next((maps[n] for n in ("edisp", "psf") if n in maps), None)
        with_true = [maps[n] for n in ("exposure", "edisp", "psf") if n in maps]
        true, rad, migra = None, None, getattr(known, "migra_axis", None)
        if with_true:
            # Of old, files call the energies of the exposure just 'energy'.
            true = with_true[0].axes[0].axis.rename("energy_true")
        if "edisp" in maps:
            inner = maps["edisp"].axes[-1].axis
            migra = _exact(inner, migra) if inner.name == "migra" else None
        if "psf" in maps:
            rad = maps["psf"].axis("rad").axis
        energy = first.axis("energy").axis
        known_energy = getattr(known, "energy_axis", None)
        true = _exact(true, getattr(known, "energy_axis_true", None)) or energy.rename("energy_true")
        rad = _exact(rad, getattr(known, "rad_axis", None))
        geom_irf = _exact(irf.geom if irf else None, getattr(known, "geom_irf", None))
        geom = getattr(known, "geom", None)
        geom = first.geom if geom is None else _exact(first.geom, geom.to_image())
        return cls(geom, _exact(energy, known_energy), true, rad, migra, geom_irf)

    def map_geometry(self) -> MapDatasetGeometry:
        """The geometry of maps."""
        assert isinstance(self.geom, WcsGeom)  # who calls has looked
        irf = self.geom_irf if self.geom_irf is not None else self.geom.to_binsz(DEFAULT_BINSZ_IRF)
        return MapDatasetGeometry(
            self.geom.to_cube([self.energy]), self.true, self.rad or default_rad_axis(), self.migra, irf
        )

    def spectrum_geometry(self) -> SpectrumDatasetGeometry:
        """The geometry of a spectrum."""
        assert isinstance(self.geom, RegionGeom)  # who calls has looked
        return SpectrumDatasetGeometry(self.geom.to_cube([self.energy]), self.true, self.migra)


def _exact(found: Any, known: Any) -> Any:
    """What was found; the same with all its digits where that is known."""
    return known if found is None or (known is not None and found == known) else found


def _array(name: str, found: FileMap, geometry: DatasetGeometry) -> NDArray[Any]:
    """An array as the dataset wants it."""
    if name.startswith("psf"):
        assert isinstance(geometry, MapDatasetGeometry)  # spectra have none
        values = _psf(name, found, geometry)
    else:
        outer, inner = _expected_axes(name, geometry)
        old = name == "exposure" and found.axes[0].axis.name == "energy"
        pairs = [(found.axes[0] if old else found.axis(outer.name), outer)]
        pairs += [(found.axis(inner.name), inner)] if inner is not None else []
        for mine, wanted in pairs:
            difference = mine.axis.rename(wanted.name).difference(wanted)
            if difference is not None:
                raise GeometryError(
                    f"its axis {wanted.name} is not that of the other maps: {difference}",
                    where=found.where,
                    hint="All maps of a dataset need the same axes",
                )
        values = found.values if old else found.ordered(*(axis.axis.name for axis, _ in pairs))
        if isinstance(geometry, MapDatasetGeometry):
            _require_pixels(name, found, geometry)
    if name.endswith("_exposure"):
        values = values[:, 0]
    values = values.reshape(geometry.shapes[name])
    return as_stored(name, values, found.where)


def as_stored(name: str, values: NDArray[Any], where: str) -> NDArray[Any]:
    """Values in the number type of the schema.

    Raises
    ------
    UnsupportedError
        When counts are no whole numbers, as those of an Asimov dataset.
    """
    dtype = np.dtype(_VARIABLES[name].dtype)
    if dtype.kind == "i" and values.dtype.kind != "i":
        whole = np.rint(values)
        bad = ~(np.isfinite(values) & (whole == values))
        if bad.any():
            raise UnsupportedError(
                f"{int(bad.sum())} bins hold counts that are no whole numbers, e.g. {values[bad][0]!r}",
                where=where,
                hint="Only counted events can be stored; draw them with `fake`",
            )
        values = whole
    if dtype.kind == "b":
        values = np.nan_to_num(values) != 0
    return values.astype(dtype)


def _expected_axes(name: str, geometry: DatasetGeometry) -> tuple[MapAxis, MapAxis | None]:
    if name in _RECO:
        return geometry.energy_axis, None
    if name == "exposure":
        return geometry.energy_axis_true, None
    inner = geometry.edisp_axis
    return geometry.energy_axis_true, inner.squash() if name.endswith("exposure") else inner


def _psf(name: str, found: FileMap, geometry: MapDatasetGeometry) -> NDArray[Any]:
    true, rad = found.axis("energy_true"), found.axis("rad")
    same = found.geom == geometry.geom_irf and true.axis == geometry.energy_axis_true
    as_binned = all(np.allclose(a.nodes, a.axis.center, rtol=1e-5, atol=1e-9) for a in (true, rad))
    if same and (as_binned or name == "psf_exposure"):
        return found.ordered("energy_true", "rad")
    return psf_on_grid(found, geometry.energy_axis_true, geometry.rad_axis, geometry.geom_irf)


def _require_pixels(name: str, found: FileMap, geometry: MapDatasetGeometry) -> None:
    wanted = geometry.geom_irf if name.startswith("edisp") else geometry.image
    if not isinstance(found.geom, WcsGeom):
        raise GeometryError("a spectrum among maps", where=found.where)
    difference = found.geom.difference(wanted)
    if difference is not None:
        raise GeometryError(
            f"its pixels are not those of the other maps: {difference}",
            where=found.where,
            hint="Write all maps of a dataset on the same pixels",
        )
