"""Setting up a source in a dataset: window, responses, frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import j0

from gammaflow.datasets import MapDataset
from gammaflow.errors import DataError, GeometryError, ModelError, UnsupportedError
from gammaflow.likelihood.good_time import mean_in_time
from gammaflow.likelihood.hankel import hankel_rule
from gammaflow.likelihood.image import SourceImage, SourceResponses
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.lattice import Lattice, unit_vectors
from gammaflow.likelihood.projection import Flat, projector
from gammaflow.likelihood.response import bilinear, edisp_kernel, psf_table
from gammaflow.likelihood.shape import Shape
from gammaflow.likelihood.transfer import PointSpread
from gammaflow.likelihood.window import source_reach
from gammaflow.maps import WcsGeom
from gammaflow.maps.frames import frame_matrix, rotate, vectors_to_lonlat
from gammaflow.modeling import PointSpatialModel, SkyModel, SpatialModel, TemplateSpatialModel
from gammaflow.modeling.spatial.base import POSITION

Floats = NDArray[np.float64]

#: Samples per pixel that are tried for a model without a closed transform, until images agree to 1e-3.
OVERSAMPLINGS = (1, 2, 4, 8)
#: Largest lattice of samples along a side.
LARGEST_SAMPLES = 4096
#: What the transfer function may still be at the border of the alias orders: about the error of an image, relative to
#: its peak.
BORDER = 1e-3
#: Most alias orders: enough for a Gaussian PSF of a tenth of a pixel, or Fermi-LAT's at 1 TeV in pixels of 0.1 deg.
LARGEST_ALIAS = 5
#: A PSF for which they are not enough is smoothed by a Gaussian of so many pixels, which brings its transfer function
#: down to `BORDER` there: images that are cut off ring, and what they predict below zero drives a fit away.
_LAST = math.pi * (LARGEST_ALIAS + 0.5)
SOFT = math.sqrt(-0.5 * math.log(_LAST * BORDER)) / _LAST
#: Where a transform is looked at around the border, cycles per pixel.
_BORDER_PLACES = 0.3 * np.linspace(-1.0, 1.0, 5)
#: Every so many pixels are enough for the mean of an exposure, which weighs energies against each other.
_SPARSE = 4
_NARROW = (
    "{where}: the PSF is much narrower than a pixel ({pixel:.3g} deg): predicted counts are less exact, "
    "use smaller pixels"
)


def source_image(
    dataset: MapDataset,
    source: SkyModel,
    parameters: Sequence[str] = (),
    options: ImageOptions | None = None,
    reconstructed: NDArray[np.bool_] | None = None,
) -> SourceImage | None:
    """Set up a source in a dataset.

    Parameters
    ----------
    dataset : MapDataset
        With exposure.
    source : SkyModel
        As it starts: its position is the anchor. The mean of its temporal model over the dataset's good
        time multiplies the counts.
    parameters : sequence of str
        The free spatial parameters, in the order of their coordinates.
    options : ImageOptions, optional
    reconstructed : array (E,) of bool, optional
        The reconstructed energies that are asked for; true energies that are never found there are left out.

    Returns
    -------
    SourceImage or None
        None when the source does not reach the dataset: its window lies off the map, or has no exposure.

    Raises
    ------
    ModelError
        When the source has no spatial model.
    DataError
        When the dataset has no exposure; UnsupportedError when it is no map.
    """
    if not isinstance(dataset, MapDataset):
        raise UnsupportedError(
            f"the counts of a source in a {type(dataset).__name__}",
            where=f"dataset {dataset.name}, source {source.name}",
            hint="Sources are predicted in datasets with a map; the background of spectra is.",
        )
    options = options or ImageOptions()
    model, where = spatial_of(source), f"dataset {dataset.name}, source {source.name}"
    exposure = _exposure(dataset, source, where)
    try:
        place = _place(dataset, source, parameters, options, exposure)
    except GeometryError:
        return None  # not on the map's projection
    lattice = place.lattice
    slices = lattice.overlap(dataset.geometry.image)
    if slices is None:
        return None
    part = exposure[(slice(None), *slices[0])]
    useful = part.any(axis=(1, 2))
    useful &= (place.edisp if reconstructed is None else place.edisp[:, reconstructed]).any(axis=1)
    if not useful.any():
        return None
    if not np.isfinite(part.sum()):
        raise DataError(
            "the values around the source are not finite",
            where=f"{where}: exposure",
            hint="Exclude the dataset, or repair its exposure.",
        )
    used = np.flatnonzero(useful)
    energies = slice(int(used[0]), int(used[-1]) + 1)
    around: tuple[PointSpread, ...] = ()
    slope, step = None, 0.0
    if options.irf_variation == "linear" and not place.whole_map:
        slope = exposure_slopes(dataset, model.frame, lattice.anchor, max(place.radius, 0.1))[energies]
        if place.radius > 0:
            step = max(0.6 * place.radius, 0.05)
            ways = _around(model.frame, lattice.anchor, step)
            around = tuple(_spread(dataset, source, way, lattice, options).select(energies) for way in ways)
    responses = SourceResponses(
        energies=energies,
        edisp=place.edisp[energies] * mean_in_time(dataset, source, where),
        exposure=np.ascontiguousarray(part[energies], dtype=np.float32),
        spread=place.spread.select(energies),
        around=around,
        span=2 * step,
        exposure_slope=slope,
        weights=place.weights[energies],
    )
    curved = Flat() if place.sampled else projector(lattice, place.radius + _r68(place.spread), options.warp)
    warnings = () if place.resolved else (_NARROW.format(where=where, pixel=lattice.pixel_size),)
    edges = np.asarray(dataset.geometry.energy_axis_true.edges)[energies.start : energies.stop + 1]

    def built(oversampling: int) -> SourceImage:
        shape = Shape(
            model, parameters, lattice, edges, oversampling, moments=bool(around), sampled=place.sampled
        )
        return SourceImage(source.name, lattice, shape, curved, responses, slices, warnings, options)

    if options.oversampling is not None or not place.sampled:
        return built(options.oversampling or 1)
    if place.whole_map and isinstance(model, TemplateSpatialModel):
        return built(_for_template(model, lattice))
    return _fine_enough(built, lattice.size)


@dataclass(frozen=True, eq=False)
class _Place:
    """A source's window, and the responses at its anchor.

    ``radius`` is the source's own in deg, with its margin; ``whole_map`` says that the window holds the map and not
    the source, ``sampled`` that the model is to be sampled, ``resolved`` that the alias orders hold all of the PSF.
    """

    lattice: Lattice
    radius: float
    whole_map: bool
    sampled: bool
    resolved: bool
    spread: PointSpread
    edisp: Floats
    weights: Floats


def _place(
    dataset: MapDataset,
    source: SkyModel,
    parameters: Sequence[str],
    options: ImageOptions,
    exposure: NDArray[np.float32],
) -> _Place:
    model, image = spatial_of(source), dataset.geometry.image
    apply_edisp = source.apply_irf["edisp"]
    drift = options.drift if any(n in POSITION for n in parameters) else 0.0
    margin = options.size_margin if any(n not in POSITION for n in parameters) else 1.0
    has_place = "lon_0" in model.parameters.names and math.isfinite(model.extent)
    anchor = model.position_lonlat if has_place else _map_center(dataset, model.frame)
    vector = unit_vectors(model.frame, np.array(anchor[0]), np.array(anchor[1]))
    lattice = Lattice.around(image, model.frame, *anchor, half_size=4)
    pixel = lattice.pixel_size
    alias, resolved = _alias_order(dataset, source, vector, lattice, options)
    lattice = replace(lattice, alias=alias)
    spread = _spread(dataset, source, vector, lattice, options)
    edisp = edisp_kernel(dataset, vector, apply_edisp)
    weights = _expected(dataset, source, exposure, edisp)
    half_map, half_size = max(image.npix) / 2, math.inf
    if has_place:
        reach = source_reach(spread, model, weights, options.psf_containment, margin)
        half_size = (reach + drift) / pixel
    whole_map = False
    if half_size > half_map:
        # the window of the map also holds what the PSF brings in from outside
        beyond = source_reach(spread, PointSpatialModel(), weights, options.psf_containment) + drift
        of_map = half_map + beyond / pixel
        whole_map = half_size > (1.5 if model.has_transform else 1.0) * of_map
        half_size = min(half_size, of_map) if whole_map else half_size
    if whole_map:
        anchor = _map_center(dataset, model.frame)
        vector = unit_vectors(model.frame, np.array(anchor[0]), np.array(anchor[1]))
        edisp = edisp_kernel(dataset, vector, apply_edisp)
    half = math.ceil(half_size) + 1
    size = None if whole_map else _period(image, vector, half, drift / pixel)
    found = Lattice.around(image, model.frame, *anchor, half_size=half, alias=alias, size=size)
    if whole_map:
        spread = _spread(dataset, source, vector, found, options)
    if not resolved:
        spread = spread.softened(SOFT * pixel)
    sampled = whole_map or not model.has_transform
    return _Place(found, model.extent * margin, whole_map, sampled, resolved, spread, edisp, weights)


def _period(image: WcsGeom, vector: Floats, half_size: int, drift: float) -> int | None:
    """Pixels along a window whose source reaches farther than the map, None where it does not.

    What wraps around must come from farther than the source reaches, on pixels of the map: ``N >= reach + the
    distance to the map's farthest side``, where ``2 reach`` would hold the whole of it.
    """
    place = np.array([float(p) for p in image.vectors_to_pix(vector)])
    far = math.ceil(float(np.maximum(place + 0.5, np.array(image.npix) - 0.5 - place).max()) + drift) + 1
    if far >= half_size:
        return None
    return int(scipy.fft.next_fast_len(half_size + far + 1, real=True))


def _map_center(dataset: MapDataset, frame: str) -> tuple[float, float]:
    """lon, lat in deg in a frame."""
    lon, lat = vectors_to_lonlat(rotate(frame_matrix(frame), dataset.geometry.image.center_vector))
    return float(lon), float(lat)


def spatial_of(source: SkyModel) -> SpatialModel:
    """The spatial model of a source.

    Raises
    ------
    ModelError
        When it has none: a map cannot be predicted.
    """
    if source.spatial_model is None:
        raise ModelError(
            "the source has no spatial model",
            where=f"source {source.name}",
            hint="Give it one, e.g. PointSpatialModel: a map needs to know where the source is.",
        )
    return source.spatial_model


def _exposure(dataset: MapDataset, source: SkyModel, where: str) -> NDArray[np.float32]:
    exposure = dataset.array("exposure")
    if not source.apply_irf["exposure"]:
        return np.broadcast_to(np.float32(1.0), dataset.geometry.shapes["exposure"])
    if exposure is None:
        raise DataError("the dataset has no exposure", where=where, hint="A source needs one.")
    return exposure


def _expected(dataset: MapDataset, source: SkyModel, exposure: NDArray[np.float32], edisp: Floats) -> Floats:
    """Counts (K,) expected at each true energy, up to a factor: to weigh energies against each other."""
    fluxes = np.abs(
        source.spectral_model.integral_values(np.asarray(dataset.geometry.energy_axis_true.edges))
    )
    usual = np.asarray(dataset.geometry.energy_axis_true.center) ** -1.5
    fluxes = np.where(np.isfinite(fluxes), fluxes, 0.0)
    mean = exposure[:, ::_SPARSE, ::_SPARSE].mean(axis=(1, 2), dtype=np.float64)
    return (fluxes if fluxes.any() else usual) * mean * edisp.sum(axis=1)


def _spread(
    dataset: MapDataset, source: SkyModel, vector: Floats, lattice: Lattice, options: ImageOptions
) -> PointSpread:
    table = psf_table(dataset, vector) if source.apply_irf["psf"] else None
    axis = dataset.geometry.rad_axis
    if table is None:
        # without a PSF a point would have no smooth image: half a pixel stands for it
        return PointSpread.gaussian(
            0.5 * lattice.pixel_size, dataset.geometry.energy_axis_true.nbin, lattice.highest
        )
    return PointSpread.from_table(axis.edges, axis.center, table, lattice.highest, options.psf_interpolation)


def _around(frame: str, anchor: tuple[float, float], step: float) -> list[Floats]:
    """ICRS unit vectors at ``step`` deg to the east, west, north, south."""
    lon, lat = np.radians(anchor)
    here = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    angle, back = math.radians(step), frame_matrix(frame).T
    ways = ((east, 1), (east, -1), (north, 1), (north, -1))
    return [back @ (math.cos(angle) * here + sign * math.sin(angle) * way) for way, sign in ways]


def exposure_slopes(dataset: MapDataset, frame: str, anchor: tuple[float, float], step: float) -> Floats:
    """``d exposure / d(east, north)`` (K, 2) in m2 s deg-1 around a place, by differences over ``step`` deg."""
    exposure = dataset.array("exposure")
    if exposure is None:
        return np.zeros((dataset.geometry.energy_axis_true.nbin, 2))
    image = dataset.geometry.image
    values = []
    for vector in _around(frame, anchor, step):
        x, y = (float(p) for p in image.vectors_to_pix(vector))
        if not math.isfinite(x + y):
            return np.zeros((len(exposure), 2))
        places, weights = bilinear(image, x, y)
        found = [w * exposure[:, j, i].astype(np.float64) for (j, i), w in zip(places, weights, strict=True)]
        values.append(np.sum(found, axis=0))
    return np.stack([values[0] - values[1], values[2] - values[3]], axis=1) / (2 * step)


def _alias_order(
    dataset: MapDataset, source: SkyModel, vector: Floats, lattice: Lattice, options: ImageOptions
) -> tuple[int, bool]:
    """Alias orders that a source needs, and whether there are enough of them.

    Images are cut off at ``|nu| = a + 1/2`` cycles/pixel along either axis. A cusp that is narrower than a pixel has
    much beyond: cut there, it rings along the row and the column of the source, far into the map.
    """
    table, axis = psf_table(dataset, vector) if source.apply_irf["psf"] else None, dataset.geometry.rad_axis
    if table is None:
        return 1, True
    rule = hankel_rule(axis.edges, axis.center, lattice.highest, options.psf_interpolation)
    shape, weighted = spatial_of(source), None
    for order in range(1, LARGEST_ALIAS + 1):
        # Phat has zeros: the largest of a few places
        q = (order + 0.5 + _BORDER_PLACES) / lattice.pixel_size
        passed = float(shape.envelope(q[2:3])[0]) / (np.pi * (order + 0.5))
        if passed <= BORDER:  # whatever the PSF, whose transform is at most 1
            return order, True
        if weighted is None:
            weighted = rule.density(table) * rule.ring
        if float(np.abs(weighted @ j0(2 * np.pi * np.outer(rule.r, q))).max()) * passed <= BORDER:
            return order, True
    return LARGEST_ALIAS, False


def _r68(spread: PointSpread) -> float:
    return float(spread.containment_radius(0.68).max(initial=0.0))


def _for_template(model: TemplateSpatialModel, lattice: Lattice) -> int:
    """Samples per pixel for a map that is larger than the dataset's: four in each of its own pixels, at least two.

    Its border, where doubling would never come to an end, is not looked at: what shines beyond is not known.
    """
    wanted = max(4 * lattice.pixel_size / min(model.map.geom.pixel_scales), 2)
    return next((f for f in OVERSAMPLINGS if f >= wanted), OVERSAMPLINGS[-1])


def _fine_enough(built: Callable[[int], SourceImage], size: int) -> SourceImage:
    """The coarsest sampling whose images agree with those of twice as many samples to 1e-3 of the peak."""
    coarse, before = built(OVERSAMPLINGS[0]), None
    for f in OVERSAMPLINGS[1:]:
        if f * size > LARGEST_SAMPLES:
            break
        fine = built(f)
        before = _all_images(coarse) if before is None else before
        after = _all_images(fine)
        if float(np.abs(after - before).max()) <= 1e-3 * float(np.abs(after).max(initial=0.0)):
            return coarse
        coarse, before = fine, after
    return coarse


def _all_images(source: SourceImage) -> Floats:
    return np.concatenate([stretch.copy() for _, stretch in source.state(source.start).images()])
