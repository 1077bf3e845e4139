"""Sums over a ring around each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from gammaflow.maps import WcsGeom

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ring:
    """A ring, its radii in pixels (of their width along longitude).

    Attributes
    ----------
    r_in, width : float
    """

    r_in: float
    width: float

    def kernel(self, geom: WcsGeom) -> NDArray[np.bool_]:
        """Which pixels around one belong to it: the distance of their centres is at least r_in, at most r_in + width.

        Returns
        -------
        kernel : ndarray of bool, shape (2 m + 1, 2 n + 1)
        """
        aspect = geom.pixel_scales[1] / geom.pixel_scales[0]
        outer = self.r_in + self.width
        reach_x, reach_y = int(outer), int(outer / aspect)
        x, y = np.arange(-reach_x, reach_x + 1.0), np.arange(-reach_y, reach_y + 1.0) * aspect
        squared = x**2 + y[:, None] ** 2
        return (squared >= self.r_in**2) & (squared <= outer**2)


class RingSums:
    """Sums of an image over rings, by Fourier transforms; beyond the rim of the image is nothing.

    Parameters
    ----------
    geom : WcsGeom
        The image.
    largest : Ring
        The one with the largest outer radius among those that will be asked for.
    """

    def __init__(self, geom: WcsGeom, largest: Ring) -> None:
        self._geom = geom
        self._shape = geom.shape_image
        kernel = largest.kernel(geom)
        self._size = tuple(
            fft.next_fast_len(n + min(k // 2, n), real=True)
            for n, k in zip(self._shape, kernel.shape, strict=True)
        )

    def transform(self, image: NDArray[np.generic]) -> NDArray[np.complex128]:
        """What `sums` and `counts` take: the transform of an image (ny, nx)."""
        padded = np.zeros(self._size)
        padded[: self._shape[0], : self._shape[1]] = image
        return np.asarray(fft.rfft2(padded))

    def ring(self, ring: Ring) -> NDArray[np.complex128]:
        """The transform of a ring."""
        kernel = ring.kernel(self._geom)
        (ky, kx), (ny, nx) = kernel.shape, self._size
        padded = np.zeros(self._size)
        # Centred on the first pixel, and wrapped; pixels that are nowhere within the image's size do not matter
        y, x = np.nonzero(kernel)
        y, x = y - ky // 2, x - kx // 2
        near = (np.abs(y) < self._shape[0]) & (np.abs(x) < self._shape[1])
        padded[y[near] % ny, x[near] % nx] = 1.0
        return np.asarray(fft.rfft2(padded))

    def sums(self, image: NDArray[np.complex128], ring: NDArray[np.complex128]) -> Floats:
        """Sums (ny, nx) over the ring around each pixel."""
        whole = fft.irfft2(image * ring, s=self._size)
        return np.asarray(whole[: self._shape[0], : self._shape[1]])

    def counts(self, image: NDArray[np.complex128], ring: NDArray[np.complex128]) -> NDArray[np.int64]:
        """As `sums`, of an image of whole numbers: exact."""
        return np.rint(self.sums(image, ring)).astype(np.int64)


@dataclass(frozen=True)
class OffPlane:
    """Counts and background of one energy outside of the exclusion mask, ready to be summed over rings."""

    sums: RingSums
    counts: NDArray[np.complex128]
    background: NDArray[np.complex128]
    support: NDArray[np.complex128]

    @classmethod
    def prepare(
        cls, sums: RingSums, counts: NDArray[np.generic], background: Floats, allowed: NDArray[np.bool_]
    ) -> OffPlane:
        """From images (ny, nx); ``allowed`` is False where the sky is excluded."""
        background = np.where(allowed & np.isfinite(background), background, 0.0)
        return cls(
            sums,
            sums.transform(np.where(allowed, counts, 0)),
            sums.transform(background),
            sums.transform(background > 0),
        )

    def over(self, ring: NDArray[np.complex128]) -> tuple[NDArray[np.int64], Floats]:
        """OFF counts and OFF acceptance (ny, nx); the latter is 0 where no pixel of the ring has background."""
        acceptance = self.sums.sums(self.background, ring)
        # What transforms leave of nothing is not 0, and may be negative
        acceptance[self.sums.counts(self.support, ring) == 0] = 0.0
        return self.sums.counts(self.counts, ring), np.maximum(acceptance, 0.0)
