"""`AdaptiveRingBackgroundMaker`: a ring that grows until it holds background enough."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import ConfigError
from gammaflow.makers.background.exclusion import Exclusion
from gammaflow.makers.background.failure import WithoutOff
from gammaflow.makers.background.ring import RingMaker, positive_deg
from gammaflow.makers.background.ring_sums import OffPlane, Ring
from gammaflow.maps.region_mask import RegionLike

Floats = NDArray[np.float64]


class AdaptiveRingBackgroundMaker(RingMaker):
    """Count the background of each pixel in the smallest ring that holds enough of it.

    Rings are tried from the smallest to the largest: with ``fixed_width`` their inner radius grows from r_in by
    stepsize as long as it is below r_out_max - width, with ``fixed_r_in`` their width grows from width by
    stepsize as long as it is below r_out_max - r_in. The first ring counts for which

        alpha(p) = background(p) / sum_{q in R(p)} background(q) e(q) <= threshold_alpha.

    Where no ring is large enough, there is no OFF measurement: acceptances and OFF counts are 0, and the bin is not
    safe. Otherwise as `RingBackgroundMaker`.

    Parameters
    ----------
    r_in, r_out_max, width, stepsize : str, Quantity or float
        deg.
    threshold_alpha : float
    theta : str, Quantity or float
        Taken for the sake of those who pass it by position, and without effect: alpha is that of single pixels. (The
        field's reference smooths the acceptance with a disc whose radius comes out below one pixel, which is none.)
    method : {"fixed_width", "fixed_r_in"}
    exclusion_mask, without_off
        See `RingMaker`.

    Raises
    ------
    ConfigError
        If an argument means nothing, or there is no ring between the radii.
    """

    tag = "AdaptiveRingBackgroundMaker"

    def __init__(
        self,
        r_in: str | float | u.Quantity,
        r_out_max: str | float | u.Quantity,
        width: str | float | u.Quantity,
        stepsize: str | float | u.Quantity = "0.02 deg",
        threshold_alpha: float = 0.1,
        theta: str | float | u.Quantity = "0.22 deg",
        method: Literal["fixed_width", "fixed_r_in"] = "fixed_width",
        exclusion_mask: Exclusion | RegionLike | Path | None = None,
        without_off: WithoutOff = "mask",
    ) -> None:
        super().__init__(exclusion_mask, without_off)
        if method not in ("fixed_width", "fixed_r_in"):
            raise ConfigError(f"method {method!r}", where=self.tag, hint="Known are fixed_width, fixed_r_in")
        if not threshold_alpha > 0:
            raise ConfigError(
                f"threshold_alpha {threshold_alpha}", where=self.tag, hint="Give a positive number"
            )
        self.r_in, self.r_out_max = (
            positive_deg(r_in, "r_in", self.tag), positive_deg(r_out_max, "r_out_max", self.tag)
        )  # fmt: skip
        self.width, self.stepsize = (
            positive_deg(width, "width", self.tag), positive_deg(stepsize, "stepsize", self.tag)
        )  # fmt: skip
        self.theta = positive_deg(theta, "theta", self.tag)
        self.threshold_alpha = float(threshold_alpha)
        self.method = method
        if not self.rings(self.stepsize):
            raise ConfigError(
                f"no ring of width {self.width:g} deg from {self.r_in:g} deg ends before {self.r_out_max:g} deg",
                where=self.tag,
                hint="Choose a larger r_out_max",
            )

    def rings(self, binsz: float) -> list[Ring]:
        """The rings, from the smallest to the largest."""
        r_in, width, last, step = (
            length / binsz for length in (self.r_in, self.width, self.r_out_max, self.stepsize)
        )
        if self.method == "fixed_width":
            return [Ring(float(r), width) for r in np.arange(r_in, last - width, step)]
        return [Ring(r_in, float(w)) for w in np.arange(width, last - r_in, step)]

    def _off(
        self, plane: OffPlane, acceptance: Floats, rings: list[NDArray[np.complex128]]
    ) -> tuple[NDArray[np.int64], Floats]:
        counts_off = np.zeros(acceptance.shape, dtype=np.int64)
        acceptance_off = np.zeros(acceptance.shape)
        waiting = np.ones(acceptance.shape, dtype=bool)
        for ring in rings:
            counts, off = plane.over(ring)
            enough = waiting & (off > 0) & (acceptance <= self.threshold_alpha * off)
            counts_off[enough], acceptance_off[enough] = counts[enough], off[enough]
            waiting &= ~enough
            if not waiting.any():
                break
        return counts_off, acceptance_off

    def _kept(self, measured: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return measured

    def __repr__(self) -> str:
        return (
            f"AdaptiveRingBackgroundMaker(r_in={self.r_in:g} deg, r_out_max={self.r_out_max:g} deg, "
            f"width={self.width:g} deg, method={self.method!r})"
        )
