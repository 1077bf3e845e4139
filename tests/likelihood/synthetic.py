"""Small datasets with responses known in closed form, and the slow truth their images are held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, roots_legendre

from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.likelihood.lattice import Lattice
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.maps.frames import frame_matrix, lonlat_to_vectors, rotate, vectors_to_lonlat

Floats = NDArray[np.float64]


def energy_axes(true_bins: int = 5, reco_bins: int = 4) -> tuple[MapAxis, MapAxis]:
    return (
        MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=reco_bins),
        MapAxis.from_energy_bounds("0.3 TeV", "30 TeV", nbin=true_bins, name="energy_true"),
    )


def make_dataset(
    name: str = "one",
    *,
    center: tuple[float, float] = (83.6, 22.0),
    frame: str = "icrs",
    proj: str = "CAR",
    binsz: float = 0.02,
    npix: int | tuple[int, int] = 81,
    around: tuple[float, float] | None = None,
    psf: object = 0.05,
    exposure_slope: float = 0.05,
    background: float = 0.3,
    true_bins: int = 5,
    reco_bins: int = 4,
    rad_max: float = 0.6,
    rad_bins: int = 120,
    counts: NDArray[np.int64] | None = None,
    seed: int | None = None,
    mask_safe: NDArray[np.bool_] | None = None,
    mask_fit: NDArray[np.bool_] | None = None,
) -> MapDataset:
    """A dataset with a Gaussian PSF (``psf`` deg, or one width an energy, or a function of r in deg), a
    smooth exposure and a background that falls with energy. Counts are Poisson around the background when
    a seed is given.
    """
    energy, energy_true = energy_axes(true_bins, reco_bins)
    rad = MapAxis.from_bounds(0.0, rad_max, rad_bins, "rad", "deg", "lin")
    geom = WcsGeom.create(center, binsz, npix=npix, frame=frame, proj=proj, axes=[energy])
    if around is not None:
        header = geom.header
        x, y = (float(p) for p in geom.sky_to_pix(*around))
        shift = {"CRPIX1": round(geom.npix[0] / 2 - x), "CRPIX2": round(geom.npix[1] / 2 - y)}
        geom = WcsGeom.from_header({**header, **{k: header[k] + v for k, v in shift.items()}}, axes=[energy])
    geometry = MapDatasetGeometry.create(geom, energy_true, rad)
    ny, nx = geom.shape_image
    y, x = np.mgrid[:ny, :nx]
    slope = 1.0 + exposure_slope * ((x - nx / 2) / nx + 0.5 * (y - ny / 2) / ny)
    exposure = 1e10 * np.geomspace(0.3, 3.0, true_bins)[:, None, None] * slope
    irf = geometry.shapes["psf"]
    if callable(psf):
        table = np.tile(psf(rad.center), (true_bins, 1))
    else:
        sigma = np.broadcast_to(np.asarray(psf, dtype=float), (true_bins,))
        table = np.exp(-0.5 * (rad.center / sigma[:, None]) ** 2) / sigma[:, None] ** 2
    ratio = energy.center / energy_true.center[:, None]
    edisp = np.exp(-0.5 * (np.log(ratio) / 0.25) ** 2)
    edisp *= 0.9 / np.maximum(edisp.sum(axis=1, keepdims=True), 0.9)
    expected = (
        background * (energy.center[:, None, None] ** -1.7) * (1 + 0.2 * np.cos(x / 9.0) * np.sin(y / 7.0))
    )
    if counts is None and seed is not None:
        counts = np.random.default_rng(seed).poisson(expected.astype(np.float32))
    return MapDataset.from_arrays(
        geometry,
        name,
        counts=np.zeros(geometry.shapes["counts"], dtype=np.int32) if counts is None else counts,
        background=expected,
        mask_safe=mask_safe,
        mask_fit=mask_fit,
        exposure=exposure,
        psf=np.broadcast_to(table[:, :, None, None], irf),
        psf_exposure=np.full(geometry.shapes["psf_exposure"], 1e10),
        edisp=np.broadcast_to(edisp[:, :, None, None], geometry.shapes["edisp"]),
        edisp_exposure=np.full(geometry.shapes["edisp_exposure"], 1e10),
        livetime=1800.0,
    )


# --- truth on a flat lattice -------------------------------------------------------------------------------


def gaussian_in_pixels(size: int, place: Floats, sigma: float) -> Floats:
    """Integral of Gaussians of ``sigma`` pixels at ``place`` (2, n) over each pixel of a lattice, summed
    over n weights.
    """
    edges = np.arange(size + 1) - 0.5
    sides = [np.diff(0.5 * erf((edges[:, None] - p[None, :]) / (np.sqrt(2) * sigma)), axis=0) for p in place]
    return np.stack([sides[1], sides[0]])


def gaussian_image(size: int, places: Floats, weights: Floats, sigma: float) -> Floats:
    """Image (size, size) of point sources at ``places`` (2, n) in pixels, through a Gaussian PSF of
    ``sigma`` pixels.
    """
    rows, columns = gaussian_in_pixels(size, places, sigma)
    return np.einsum("yn,xn,n->yx", rows, columns, weights)


def radial_image(size: int, place: Floats, pixel: float, density: object, nodes: int = 10) -> Floats:
    """Image of a point through a radial PSF (deg-2, of r in deg): Gauss-Legendre ``nodes`` x ``nodes`` in
    each pixel.
    """
    t, w = roots_legendre(nodes)
    out = np.zeros((size, size))
    along = np.arange(size)
    for a, wa in zip(t, w, strict=True):
        for b, wb in zip(t, w, strict=True):
            x, y = along + 0.5 * a - place[0], along + 0.5 * b - place[1]
            r = pixel * np.hypot(x[None, :], y[:, None])
            out += 0.25 * wa * wb * density(r)
    return out * pixel**2


def disk_nodes(
    radius: float, inner: float = 0.0, radial: int = 60, azimuthal: int = 128
) -> tuple[Floats, Floats]:
    """Offsets (2, n) and weights (sum 1) of a uniform ring."""
    t, w = roots_legendre(radial)
    r = 0.5 * (radius - inner) * t + 0.5 * (radius + inner)
    weights = (0.5 * (radius - inner) * w * r)[:, None] * np.ones(azimuthal)
    phi = 2 * np.pi * (np.arange(azimuthal) + 0.5) / azimuthal
    places = np.stack([r[:, None] * np.cos(phi), r[:, None] * np.sin(phi)])
    return places.reshape(2, -1), weights.ravel() / weights.sum()


# --- truth on the sphere -----------------------------------------------------------------------------------


def sphere_nodes(frame: str, lon: float, lat: float, offsets: Floats) -> Floats:
    """ICRS unit vectors (3, n) at polar offsets (2, n) deg (towards east, north) of a place: great-circle
    distance, position angle.
    """
    distance = np.radians(np.hypot(*offsets))
    here = lonlat_to_vectors(lon, lat)
    lam, phi = np.radians([lon, lat])
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    north = np.array([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    angle = np.arctan2(offsets[0], offsets[1])
    way = east[:, None] * np.sin(angle) + north[:, None] * np.cos(angle)
    return frame_matrix(frame).T @ (here[:, None] * np.cos(distance) + way * np.sin(distance))


def sphere_image(
    lattice: Lattice, nodes: Floats, weights: Floats, sigma: float, pixels: Floats, fine: int = 4
) -> Floats:
    """Truth at window pixels (2, n): sources at ``nodes`` (3, m) through a Gaussian PSF of ``sigma`` deg
    in great-circle distance, with the map's own WCS and solid angles at ``fine`` x ``fine`` nodes a pixel.
    """
    t, w = roots_legendre(fine)
    out = np.zeros(pixels.shape[1])
    step = 1e-3
    for a, wa in zip(t, w, strict=True):
        for b, wb in zip(t, w, strict=True):
            x = pixels[0] + 0.5 * a + lattice.origin[0]
            y = pixels[1] + 0.5 * b + lattice.origin[1]
            at = lattice.grid.vectors(x, y)
            along_x = (lattice.grid.vectors(x + step, y) - lattice.grid.vectors(x - step, y)) / (2 * step)
            along_y = (lattice.grid.vectors(x, y + step) - lattice.grid.vectors(x, y - step)) / (2 * step)
            area = np.linalg.norm(np.cross(along_x, along_y, axis=0), axis=0)
            chord2 = 2.0 - 2.0 * (at.T @ nodes)
            separation = np.degrees(2 * np.arcsin(np.sqrt(np.clip(chord2, 0, 4)) / 2))
            density = np.exp(-0.5 * (separation / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
            out += 0.25 * wa * wb * area * (density @ weights)
    return out


def galactic_lonlat(lon: float, lat: float) -> tuple[float, float]:
    """Galactic coordinates of an ICRS place, deg."""
    found = vectors_to_lonlat(rotate(frame_matrix("galactic"), lonlat_to_vectors(lon, lat)))
    return float(found[0]), float(found[1])
