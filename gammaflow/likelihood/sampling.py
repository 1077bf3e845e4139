"""Fourier coefficients of a model that is only known by its values: any user's model, templates, diffuse
maps.

The model is sampled at the centres of an f times finer lattice over the window, each value times the solid
angle of its sub-pixel on the sky: the exact WCS, no flat sky. A smooth model is spectrally exact at f = 1
or 2; one with sharp edges needs 4 or 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.likelihood.frequencies import Frequencies
from gammaflow.likelihood.lattice import Lattice
from gammaflow.maps.frames import frame_matrix, rotate, vectors_to_lonlat
from gammaflow.maps.solid_angle import net_areas
from gammaflow.modeling import SpatialModel

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class MapSpectrum:
    """Transforms of samples on a lattice f times finer than the window's.

    Parameters
    ----------
    size : int
        N of the window.
    oversampling : int
        f.
    half : array (..., k, n, m)
        rfft2 of the samples: columns 0, 1, ..., rows 0, 1, ... and from the end on -1, -2, ... At least what lies
        within the window's alias orders and below the fine lattice's own limit.
    """

    size: int
    oversampling: int
    half: Complexes

    @classmethod
    def of(cls, lattice: Lattice, oversampling: int, maps: Floats, weight: Floats) -> MapSpectrum:
        """Of maps (..., k, f N, f N), each times a weight (f N, f N)."""
        fine = oversampling * lattice.size
        top = min(fine // 2, int((lattice.alias + 0.5) * lattice.size) + 1)
        rows = np.arange(fine) if 2 * top + 1 >= fine else np.r_[0 : top + 1, fine - top : fine]
        half = np.empty((*maps.shape[:-2], len(rows), top + 1), dtype=np.complex128)
        for index in np.ndindex(maps.shape[:-2]):  # one at a time: a large map has millions of samples
            half[index] = scipy.fft.rfft2(np.nan_to_num(maps[index]) * weight)[rows, : top + 1]
        return cls(lattice.size, oversampling, half)

    def at(self, frequencies: Frequencies) -> Complexes:
        """Coefficients (..., k, Q); zero from the fine lattice's own limit ``|nu| = f / 2`` on."""
        f, fine = self.oversampling, self.oversampling * self.size
        k_x, k_y = frequencies.steps
        known = (2 * np.abs(k_x) < fine) & (2 * np.abs(k_y) < fine)
        mirrored = k_x < 0
        column = np.where(known, np.abs(k_x), 0)
        row = np.where(known, np.where(mirrored, -k_y, k_y), 0)
        # samples stand in the middle of their sub-pixels, pixels are counted from the middle of the first one
        middle = 0.5 / f - 0.5
        phase = np.where(known, np.exp(-2j * np.pi * middle * frequencies.nu.sum(axis=0)), 0.0)
        values = self.half[..., row, column]
        np.conjugate(values, out=values, where=mirrored)
        values *= phase
        return values


@dataclass(frozen=True, eq=False)
class SampledTransform:
    """Transforms of a model's values (k, ...), of its n first (n, k, ...) and its second derivatives (n,
    n, k, ...).
    """

    value: MapSpectrum
    first: MapSpectrum
    second: MapSpectrum


def sample(
    model: SpatialModel,
    lattice: Lattice,
    edges: Floats,
    oversampling: int,
    names: Sequence[str] = (),
    order: int = 0,
    moments: bool = False,
) -> tuple[SampledTransform, ...]:
    """Sample a model as it stands.

    Parameters
    ----------
    model : SpatialModel
        Values in sr-1.
    lattice : Lattice
    edges : array (K + 1,)
        Of the true-energy bins in TeV, for a model that depends on energy: its values are `values_in_bins`, their
        derivatives those at the bins' centres.
    oversampling : int
        f.
    names : sequence of str
        The n shape parameters by which to differentiate.
    order : {0, 1, 2}
        Up to which derivatives.
    moments : bool
        Also the samples times their offsets in deg from the anchor towards east and north.

    Returns
    -------
    tuple of SampledTransform
        One, or three with the moments.

    Raises
    ------
    ModelError
        When the model gives values that are not finite.
    """
    fine = oversampling * lattice.size
    x = lattice.origin[0] + (np.arange(fine) + 0.5) / oversampling - 0.5
    y = lattice.origin[1] + (np.arange(fine) + 0.5) / oversampling - 0.5
    grid = lattice.grid
    vectors = grid.sky.grid_to_vectors(x - grid.phase[0], y - grid.phase[1])
    half = 0.5 / oversampling
    edges_x, edges_y = np.append(x - half, x[-1] + half), np.append(y - half, y[-1] + half)
    areas = net_areas(grid.sky.grid_to_vectors(edges_x - grid.phase[0], edges_y - grid.phase[1]))
    on_sky = np.isfinite(vectors).all(axis=0) & np.isfinite(areas)
    areas = np.where(on_sky, areas, 0.0)
    lon, lat = vectors_to_lonlat(rotate(frame_matrix(model.frame), np.where(on_sky, vectors, 0.0)))
    if names and order:
        centers = np.sqrt(edges[1:] * edges[:-1]) if model.is_energy_dependent else [None]
        found = [model.values_and_derivatives(lon, lat, tuple(names), order, energy) for energy in centers]
        values, gradient, hessian = (
            np.stack(maps, axis=-3)
            for maps in zip(*((entry.value, entry.gradient, entry.hessian) for entry in found), strict=True)
        )
    else:
        dependent = model.is_energy_dependent
        values = model.values_in_bins(lon, lat, edges) if dependent else model.values(lon, lat)[None]
        gradient, hessian = np.zeros((0, *values.shape)), np.zeros((0, 0, *values.shape))
    bad = ~np.isfinite(values).all(axis=0) & on_sky
    if bad.any():
        raise ModelError(
            f"{int(bad.sum())} values are not finite, one at lon {lon[bad][0]:g}, lat {lat[bad][0]:g} deg",
            where=type(model).__name__,
            hint="A spatial model must be finite wherever it is asked.",
        )
    weights = [areas] + ([areas * way for way in _offsets(lattice, vectors)] if moments else [])

    return tuple(
        SampledTransform(
            *(MapSpectrum.of(lattice, oversampling, maps, weight) for maps in (values, gradient, hessian))
        )
        for weight in weights
    )


def _offsets(lattice: Lattice, vectors: Floats) -> list[Floats]:
    """Offsets (fN, fN) in deg from the anchor to east and to north."""
    lon, lat = np.radians(lattice.anchor)
    back = frame_matrix(lattice.frame).T
    east = back @ np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = back @ np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    return [np.nan_to_num(np.degrees(np.tensordot(way, vectors, axes=1))) for way in (east, north)]
