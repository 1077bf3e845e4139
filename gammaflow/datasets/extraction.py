"""What a region of a map holds, as a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets.rebinning import reduced
from gammaflow.datasets.spectrum_dataset import SpectrumDataset
from gammaflow.datasets.spectrum_geometry import SpectrumDatasetGeometry
from gammaflow.errors import GeometryError, UnsupportedError
from gammaflow.maps import RegionGeom, WcsGeom
from gammaflow.maps.region_mask import RegionLike

if TYPE_CHECKING:
    from gammaflow.datasets.map_dataset import MapDataset

_Spectrum = TypeVar("_Spectrum", bound=SpectrumDataset)
Floats = NDArray[np.float64]


def to_spectrum_dataset(
    dataset: MapDataset,
    on_region: RegionLike,
    containment_correction: bool = False,
    name: str | None = None,
    kind: type[_Spectrum] = SpectrumDataset,  # type: ignore[assignment]  # the bound of the variable is its default
) -> _Spectrum:
    """Add up the pixels of a map whose centres lie in a region.

    Counts and background (with its norm and tilt), or ON and OFF counts, are added where they are safe; the
    exposure is averaged, and so are acceptances, over safe pixels, with an OFF acceptance that conserves the
    background. The energy dispersion is that of the nearest pixel of the response grid to the region's centre.
    Models are left out.

    Parameters
    ----------
    dataset : MapDataset or MapDatasetOnOff
    on_region : SkyRegion or DS9 string
        Wholly inside the map.
    containment_correction : bool
        Multiply the exposure with the fraction of the point spread function, at the centre of the region, that
        a circle holds.
    name : str, optional
        Of the result.
    kind : type
        SpectrumDataset or SpectrumDatasetOnOff.

    Raises
    ------
    GeometryError
        When the region is not inside the map.
    UnsupportedError
        When an energy is safe in a part of the region only; and for the correction, when the region is no circle
        or there is no point spread function.
    """
    region = RegionGeom.create(on_region, [dataset.geometry.energy_axis])
    where = f"dataset {dataset.name}"
    inside = _pixels_of(region, dataset.geom.to_image(), where)
    _require_uniform(dataset, inside, where)
    count = int(inside.sum())

    def add(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(values[:, inside].sum(axis=1))

    def mean(values: Floats, safe: NDArray[np.bool_]) -> Floats:
        total, n = add(np.where(safe, values, 0.0)), add(safe)
        return np.divide(total, n, out=np.zeros(len(n)), where=n > 0)

    arrays = reduced(dataset, add, lambda mask: add(mask) > 0, mean)
    exposure = dataset.array("exposure")
    if exposure is not None:
        arrays["exposure"] = add(exposure.astype(np.float64)) / count
        if containment_correction:
            arrays["exposure"] *= _containment(dataset, region, where)
    if "edisp" in dataset.data.variables:
        y, x = _nearest_response(dataset, region)
        for array in ("edisp", "edisp_exposure"):
            arrays[array] = dataset.data.variables[array].values[..., y, x]
    geometry = SpectrumDatasetGeometry(region, dataset.geometry.energy_axis_true, dataset.geometry.migra_axis)
    return dataset.of_type(kind, geometry, name, **arrays)


def _pixels_of(region: RegionGeom, image: WcsGeom, where: str) -> NDArray[np.bool_]:
    """The pixels (ny, nx) whose centres lie in the region; of a point, the one it is in."""
    if region.is_point:
        x, y = (np.floor(p + 0.5) for p in image.vectors_to_pix(region.center_vector))
        columns, rows = np.arange(image.npix[0]), np.arange(image.npix[1])
        inside = np.asarray((rows == y)[:, None] & (columns == x))
    else:
        inside = image.region_mask(list(region.regions))
    rim = np.ones_like(inside)
    rim[1:-1, 1:-1] = False
    if not inside.any():
        raise GeometryError(
            f"the region {region.ds9} holds no pixel of the map", where=where, hint="Choose another region"
        )
    if not region.is_point and (inside & rim).any() and not _ends_within(region, image):
        raise GeometryError(
            f"the region {region.ds9} is not wholly inside the map", where=where, hint="Choose a larger map"
        )
    return inside


def _ends_within(region: RegionGeom, image: WcsGeom) -> bool:
    """Whether all of a region lies on the pixels of an image."""
    vectors, _ = region.pixels_and_weights(oversampling=2)
    return bool(image.contains(vectors).all())


def _require_uniform(dataset: MapDataset, inside: NDArray[np.bool_], where: str) -> None:
    if dataset.mask is None:
        return
    mask = dataset.mask.values[:, inside]
    mixed = mask.any(axis=1) & ~mask.all(axis=1)
    if mixed.any():
        energy = dataset.geometry.energy_axis.center[int(np.argmax(mixed))]
        raise UnsupportedError(
            f"at {energy:.3g} TeV only a part of the region is inside the masks",
            where=where,
            hint="Choose a region that is safe as a whole, or widen the safe mask",
        )


def _nearest_response(dataset: MapDataset, region: RegionGeom) -> tuple[int, int]:
    x, y = dataset.geometry.geom_irf.vectors_to_pix(region.center_vector)
    ny, nx = dataset.geometry.geom_irf.shape_image
    return int(np.clip(np.floor(y + 0.5), 0, ny - 1)), int(np.clip(np.floor(x + 0.5), 0, nx - 1))


def _containment(dataset: MapDataset, region: RegionGeom, where: str) -> Floats:
    """Fraction (energy_true,) of the point spread function within the radius of a circle, at its centre."""
    psf = dataset.array("psf")
    if psf is None:
        raise UnsupportedError("it has no psf to correct for", where=where, hint="Leave the correction out")
    rad = dataset.geometry.rad_axis
    # nodes at the upper edges of the bins, linear between them
    rings = 2 * np.pi * np.radians(rad.center) * np.radians(rad.bin_width)
    upper = np.cumsum(_at(psf, dataset.geometry.geom_irf, region) * rings, axis=1)
    edges = np.concatenate([np.zeros((len(upper), 1)), upper], axis=1)
    return np.array([np.interp(region.radius, rad.edges, row) for row in edges])


def _at(values: NDArray[Any], geom: WcsGeom, region: RegionGeom) -> Floats:
    """An array (..., ny, nx) at the centre of a region, linear between pixel centres."""
    out: Floats = values.astype(np.float64)
    for p, n in zip(geom.vectors_to_pix(region.center_vector), (geom.npix[0], geom.npix[1]), strict=True):
        low = int(np.clip(np.floor(p), 0, max(n - 2, 0)))
        high = min(low + 1, n - 1)
        part = float(np.clip(p - low, 0.0, 1.0))
        out = out[..., low] * (1 - part) + out[..., high] * part
    return out
