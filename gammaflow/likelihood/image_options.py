"""How predicted counts are made: the choices that a user has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gammaflow.likelihood.hankel import PsfInterpolation

IrfVariation = Literal["none", "linear"]


@dataclass(frozen=True)
class ImageOptions:
    """How predicted counts are made.

    By default the exposure is that of the pixel where an event is found, PSF and energy dispersion are
    those of the place where the source starts: Gammapy's convention.

    Parameters
    ----------
    psf_interpolation : {"spline", "linear"}
        Between the nodes of the PSF's radius axis; "linear" only to compare with other programs.
    irf_variation : {"none", "linear"}
        With "linear" the PSF varies linearly over the source, and the exposure is that of the true
        position, to first order: recommended for sources beyond 0.3 deg.
    tolerance : float
        Fourier coefficients below this, relative to the largest, are left out.
    psf_containment : float
        Share of the source's counts that its window holds.
    size_margin : float
        Factor on the starting size of a source whose size is free.
    drift : float
        Distance in deg that a source with a free position may move within its window.
    warp : bool or None
        Correct for the curvature of the sky in the window: always, never, or where it matters.
    oversampling : int or None
        Samples per pixel and direction of models without a closed transform; found by doubling when not
        given.
    """

    psf_interpolation: PsfInterpolation = "spline"
    irf_variation: IrfVariation = "none"
    tolerance: float = 1e-6
    psf_containment: float = 0.9999
    size_margin: float = 1.3
    drift: float = 0.1
    warp: bool | None = None
    oversampling: int | None = None
