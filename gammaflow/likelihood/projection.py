"""The curvature of the sky inside a window, to first order.

The window is flat: pixel = position + J (offset). On the sky, pixel p of the map lies at the equal-area
(zenithal) offset t(p) from the anchor, and has a solid angle of its own. With

    eps(p) = p_anchor + J t(p) - p        (pixels),        g(p) = solid angle of p (deg2) |det J|

the image on the sky is ``g (I + eps . grad I)``, where ``grad I`` comes from the same Fourier coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import GeometryError
from gammaflow.likelihood.frequencies import Frequencies
from gammaflow.likelihood.lattice import Lattice, unit_vectors
from gammaflow.maps.frames import frame_matrix
from gammaflow.maps.solid_angle import cell_areas

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Ints = NDArray[np.intp]

#: Below both the flat window is used as it is.
SKIP_SHIFT = 0.005  # pixels
SKIP_AREA = 1e-3
#: First order does not reach beyond this.
LARGEST_SHIFT = 1.0  # pixels
#: Places along a side at which it is looked whether a correction is needed.
COARSE = 16


@dataclass(frozen=True, eq=False)
class Flat:
    """No correction: images and their adjoint as they come from the frequencies."""

    def fold(self, frequencies: Frequencies, spectra: Complexes) -> Complexes:
        """What an image needs of spectra (c, Q): their Fourier coefficients, (c, n')."""
        return frequencies.fold(spectra)

    def unfold(self, frequencies: Frequencies, folded: Complexes) -> Complexes:
        """The transpose of `fold`, (c, n') to (c, Q)."""
        return frequencies.unfold(folded)

    def folded_count(self, frequencies: Frequencies) -> int:
        """How many numbers make a folded spectrum, n'."""
        return frequencies.coefficients

    def synthesise(self, frequencies: Frequencies, folded: Complexes) -> Floats:
        """Images (c, N, N) of folded spectra (c, n'), c at most `CHUNK`; the buffer is used again by the next call."""
        return frequencies.image(folded)

    def sample(self, frequencies: Frequencies, folded: Complexes, pixels: Ints) -> Floats:
        """The same at some pixels (n,) of the window, flat: (c, n)."""
        return _taken(frequencies.image(folded), pixels)

    def adjoint(self, frequencies: Frequencies, maps: Floats) -> Complexes:
        """B (c, n') with ``sum_p maps[p] image[p] = Re sum_n conj(B_n) folded_n``."""
        out: Complexes = frequencies.analyse_folded(maps)
        out *= frequencies.folded_weight
        return out


@dataclass(frozen=True, eq=False)
class Warp:
    """First-order correction for the curvature of the sky. Spectra are not folded: their slopes are needed, too.

    Parameters
    ----------
    area : array (N, N)
        g.
    shift : array (2, N, N)
        eps in x and y, pixels.
    """

    area: Floats
    shift: Floats

    def fold(self, frequencies: Frequencies, spectra: Complexes) -> Complexes:
        """The spectra (c, Q) as they are."""
        return spectra

    def unfold(self, frequencies: Frequencies, folded: Complexes) -> Complexes:
        """The spectra (c, Q) as they are."""
        return folded

    def folded_count(self, frequencies: Frequencies) -> int:
        """How many numbers make a folded spectrum: Q."""
        return frequencies.count

    def synthesise(self, frequencies: Frequencies, folded: Complexes) -> Floats:
        """Images (c, N, N) of spectra (c, Q), c at most `CHUNK`."""
        image = frequencies.synthesise(folded).copy()
        for axis in (0, 1):
            image += self.shift[axis] * frequencies.synthesise(folded * (2j * np.pi * frequencies.nu[axis]))
        image *= self.area
        return image

    def sample(self, frequencies: Frequencies, folded: Complexes, pixels: Ints) -> Floats:
        """The same at some pixels (n,) of the window, flat: (c, n)."""
        values = _taken(frequencies.synthesise(folded), pixels)
        for axis in (0, 1):
            slope = frequencies.synthesise(folded * (2j * np.pi * frequencies.nu[axis]))
            values += self.shift[axis].ravel()[pixels] * _taken(slope, pixels)
        values *= self.area.ravel()[pixels]
        return values

    def adjoint(self, frequencies: Frequencies, maps: Floats) -> Complexes:
        """B (c, Q) with ``sum_p maps[p] image[p] = Re sum_q conj(B_q) spectrum_q``."""
        weighted = maps * self.area
        out = frequencies.analyse(weighted)
        for axis in (0, 1):
            out -= frequencies.analyse(weighted * self.shift[axis]) * (2j * np.pi * frequencies.nu[axis])
        out *= frequencies.sum_weight
        return out


Projector = Flat | Warp


def _taken(images: Floats, pixels: Ints) -> Floats:
    return np.take(images.reshape(len(images), -1), pixels, axis=1)


def projector(lattice: Lattice, radius: float, force: bool | None = None) -> Projector:
    """The correction that a window needs within ``radius`` deg of the anchor.

    Parameters
    ----------
    lattice : Lattice
    radius : float
        Radius of the source and of most of its PSF, deg.
    force : bool or None
        Always (True), never (False), or by the rule: not where ``|eps| < 0.005`` pixels and ``|g - 1| <
        1e-3``.

    Raises
    ------
    GeometryError
        When the shift exceeds a pixel within the radius.
    """
    if force is False:
        return Flat()
    # both are smooth: a coarse look is enough to decide
    area, shift, distance = warp_maps(lattice, max(1, lattice.size // COARSE))
    inside = (distance <= max(radius, 2 * lattice.pixel_size)) & np.isfinite(area)
    largest = float(np.abs(shift[:, inside]).max(initial=0.0))
    if (
        force is None
        and largest < SKIP_SHIFT
        and float(np.abs(area[inside] - 1).max(initial=0.0)) < SKIP_AREA
    ):
        return Flat()
    if largest > LARGEST_SHIFT:
        raise GeometryError(
            f"the {lattice.grid.sky.code} projection is off a flat sky by {largest:.2g} pixels within "
            f"{radius:.3g} deg of lon {lattice.anchor[0]:g}, lat {lattice.anchor[1]:g} deg ({lattice.frame})",
            hint="Use a map whose projection is centred closer to the source.",
        )
    # these do not belong to the maps
    return _warp(replace(lattice, half_size=0, alias=0))


@lru_cache(maxsize=16)
def _warp(lattice: Lattice) -> Warp:
    """For one window: cut-outs of one parent have the same for the same source."""
    area, shift, _ = warp_maps(lattice)
    # far out, where nothing of the source is, first order would make things worse
    taper = np.clip(2.0 - np.max(np.abs(shift), axis=0) / LARGEST_SHIFT, 0.0, 1.0)
    return Warp(np.nan_to_num(area), np.nan_to_num(shift * taper))


def warp_maps(lattice: Lattice, step: int = 1) -> tuple[Floats, Floats, Floats]:
    """What the sky does to the pixels of a window.

    Parameters
    ----------
    lattice : Lattice
    step : int
        Look at every so many pixels along both axes only.

    Returns
    -------
    area : array (n, n)
        g; NaN off the sky, as the others.
    shift : array (2, n, n)
        eps in x and y, pixels.
    distance : array (n, n)
        From the anchor, deg.
    """
    along = np.arange(0, lattice.size, step, dtype=np.float64)
    vectors = _vectors(lattice, along, along)
    sides = np.stack([along - 0.5, along + 0.5], axis=1).ravel()
    corners = _vectors(lattice, sides, sides)
    low, high = slice(None, None, 2), slice(1, None, 2)
    cells = (corners[:, low, low], corners[:, low, high], corners[:, high, high], corners[:, high, low])
    lon, lat = np.radians(lattice.anchor)
    here = unit_vectors(lattice.frame, np.array(lattice.anchor[0]), np.array(lattice.anchor[1]))
    back = frame_matrix(lattice.frame).T
    east = back @ np.array([-math.sin(lon), math.cos(lon), 0.0])
    north = back @ np.array([-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)])
    towards = np.tensordot(here, vectors, axes=1)
    # zenithal equal-area: 2 sin(theta / 2) along the direction of the offset
    scale = np.degrees(np.sqrt(2.0 / (1.0 + np.clip(towards, -1 + 1e-12, 1.0))))
    offset = np.stack([np.tensordot(east, vectors, axes=1), np.tensordot(north, vectors, axes=1)]) * scale
    place = lattice.position(*lattice.anchor).pixel
    flat = np.tensordot(lattice.jacobian, offset, axes=1)
    x, y = np.meshgrid(along, along)
    shift = flat + place[:, None, None] - np.stack([x, y])
    area = cell_areas(*cells) * np.degrees(1.0) ** 2 * abs(np.linalg.det(lattice.jacobian))
    return area, shift, np.hypot(offset[0], offset[1])


def _vectors(lattice: Lattice, x: Floats, y: Floats) -> Floats:
    """ICRS unit vectors (3, ny, nx) of window columns x and rows y."""
    grid = lattice.grid
    return grid.sky.grid_to_vectors(
        x + (lattice.origin[0] - grid.phase[0]), y + (lattice.origin[1] - grid.phase[1])
    )
