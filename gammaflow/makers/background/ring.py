"""`RingBackgroundMaker`: the background of each pixel, counted in a ring around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from gammaflow.data import Observation
from gammaflow.datasets import MapDataset, MapDatasetOnOff, OnOffDataset
from gammaflow.errors import ConfigError, UnsupportedError
from gammaflow.makers.background.exclusion import Exclusion, exclusion_of
from gammaflow.makers.background.failure import WithoutOff, check_without_off, without_off
from gammaflow.makers.background.ring_sums import OffPlane, Ring, RingSums
from gammaflow.maps.region_mask import RegionLike

Floats = NDArray[np.float64]


class RingMaker(ABC):
    """What the makers of ring backgrounds have in common.

    Parameters
    ----------
    exclusion_mask : ExclusionMask, ExclusionRegions, region, DS9 string, list of them, or path, optional
        Which part of the sky may be used; all of it by default.
    without_off : {"mask", "refuse"}
        What becomes of an observation of which no pixel has a ring with background: its dataset has no safe bin,
        and the reason in ``dataset.meta["background_failure"]``, or it is refused.

    Raises
    ------
    ConfigError
        If the mask excludes everything.
    """

    tag: ClassVar[str]

    def __init__(self, exclusion_mask: Exclusion | RegionLike | Path | None, without_off: WithoutOff) -> None:
        self.exclusion_mask = exclusion_of(exclusion_mask, self.tag)
        if self.exclusion_mask is not None:
            self.exclusion_mask.require_some(self.tag)
        self.without_off = check_without_off(without_off, self.tag)

    def run(self, dataset: MapDataset, observation: Observation | None = None) -> MapDatasetOnOff:
        """The dataset with OFF counts and acceptances in the place of its background.

        Pixels without OFF acceptance are not safe.

        Parameters
        ----------
        dataset : MapDataset
            With counts and background.
        observation : Observation, optional
            Only its number is used.

        Raises
        ------
        NoOffRegionError
            No pixel has OFF acceptance, and ``without_off`` is "refuse".
        """
        where = f"dataset {dataset.name}"
        if not isinstance(dataset, MapDataset) or isinstance(dataset, OnOffDataset):
            raise UnsupportedError(
                f"a ring background for a {dataset.tag}", where=where, hint="It is for a MapDataset"
            )
        counts, background, safe = (
            dataset.array("counts"),
            dataset.npred_background(),
            dataset.array("mask_safe"),
        )
        if counts is None or background is None or safe is None:
            raise ConfigError(
                "no counts, no background or no safe mask",
                where=where,
                hint="A ring background needs counts and background in the map selection",
            )
        geom = dataset.geometry.image
        allowed = np.ones(geom.shape_image, dtype=bool)
        if self.exclusion_mask is not None:
            allowed = self.exclusion_mask.on(geom)
        rings = self.rings(geom.pixel_scales[0])
        sums = RingSums(geom, max(rings, key=lambda ring: ring.r_in + ring.width))
        transforms = [sums.ring(ring) for ring in rings]
        acceptance = background.values
        counts_off = np.zeros(counts.shape, dtype=np.int64)
        acceptance_off = np.zeros(counts.shape)
        for k, (plane, on) in enumerate(zip(counts, acceptance, strict=True)):
            off = OffPlane.prepare(sums, plane, on, allowed)
            counts_off[k], acceptance_off[k] = self._off(off, on, transforms)
        measured = acceptance_off > 0
        made = MapDatasetOnOff.from_map_dataset(
            dataset, np.where(self._kept(measured), acceptance, 0.0), acceptance_off, counts_off
        ).with_arrays(mask_safe=safe & measured)
        if measured.any():
            return made
        number = None if observation is None else observation.obs_id
        reason = "no ring around a pixel has background outside of the exclusion mask"
        return without_off(made, number, reason, self.without_off)

    @abstractmethod
    def rings(self, binsz: float) -> list[Ring]:
        """The rings, in the order in which they are tried, on pixels of ``binsz`` deg."""

    @abstractmethod
    def _off(
        self, plane: OffPlane, acceptance: Floats, rings: list[NDArray[np.complex128]]
    ) -> tuple[NDArray[np.int64], Floats]:
        """OFF counts and acceptance (ny, nx) of one energy."""

    @abstractmethod
    def _kept(self, measured: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where the acceptance of ON stays as it is; elsewhere it is 0."""


class RingBackgroundMaker(RingMaker):
    """Count the background of each pixel in a ring around it.

    With e the exclusion mask and R the pixels of the ring, ``r_in <= r <= r_in + width`` at their centres,

        n_off(p) = sum_{q in R(p)} counts(q) e(q),  acceptance_off(p) = sum_{q in R(p)} background(q) e(q),

    and the acceptance is the background, with its model applied. Counts and background are those of the whole
    map, whatever is safe.

    Parameters
    ----------
    r_in, width : str, Quantity or float
        deg.
    exclusion_mask, without_off
        See `RingMaker`.
    """

    tag = "RingBackgroundMaker"

    def __init__(
        self,
        r_in: str | float | u.Quantity,
        width: str | float | u.Quantity,
        exclusion_mask: Exclusion | RegionLike | Path | None = None,
        without_off: WithoutOff = "mask",
    ) -> None:
        super().__init__(exclusion_mask, without_off)
        self.r_in, self.width = positive_deg(r_in, "r_in", self.tag), positive_deg(width, "width", self.tag)

    def rings(self, binsz: float) -> list[Ring]:
        """The one ring."""
        return [Ring(self.r_in / binsz, self.width / binsz)]

    def _off(
        self, plane: OffPlane, acceptance: Floats, rings: list[NDArray[np.complex128]]
    ) -> tuple[NDArray[np.int64], Floats]:
        return plane.over(rings[0])

    def _kept(self, measured: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.ones_like(measured)

    def __repr__(self) -> str:
        return f"RingBackgroundMaker(r_in={self.r_in:g} deg, width={self.width:g} deg)"


def positive_deg(value: str | float | u.Quantity, name: str, where: str) -> float:
    """An angle in deg; a plain number is in deg already. ConfigError if it is not positive."""
    try:
        number = float(u.Quantity(value, u.deg).value)
    except (TypeError, u.UnitsError) as error:
        raise ConfigError(f"{name} {value!r} is no angle", where=where, hint="E.g. '0.5 deg'") from error
    if not 0 < number < np.inf:
        raise ConfigError(f"{name} {number:g} deg", where=where, hint="Give a positive angle")
    return number
