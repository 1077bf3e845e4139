"""Counts spectra: the events of a region of the sky, or within a cut that depends on the energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from regions import CircleSkyRegion

from gammaflow.data import EventList, Observation
from gammaflow.errors import MissingHduError, UnsupportedError
from gammaflow.irf import IrfAxis, RadMax2D
from gammaflow.makers.counts import energy_bins, event_vectors
from gammaflow.maps import MapAxis, RegionGeom, separation

Floats = NDArray[np.float64]

_SAME_RADIUS = 1e-3


class BinnedEvents:
    """Positions and energy bins of the events that fall on an energy axis.

    Parameters
    ----------
    events : EventList
    energy_axis : MapAxis
        Reconstructed energy. A bin holds ``lower edge <= E < upper edge``, compared as `make_counts` does.
    frame : str
        Sky frame of the region; it decides how positions are rounded, see `make_counts`.

    Attributes
    ----------
    vectors : ndarray, shape (3, n)
        ICRS unit vectors.
    energy : ndarray, shape (n,)
        TeV.
    """

    def __init__(self, events: EventList, energy_axis: MapAxis, frame: str = "icrs") -> None:
        bins = energy_bins(events.energy, energy_axis.edges)
        inside = np.flatnonzero((bins >= 0) & (bins < energy_axis.nbin))
        self.vectors = event_vectors(events.ra[inside], events.dec[inside], in_icrs=frame == "icrs")
        self.energy = events.energy[inside]
        self._bins = bins[inside]
        self._nbin = energy_axis.nbin

    def histogram(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> NDArray[np.int32]:
        """Number of chosen events in each energy bin (n_energy,); of row numbers, each counts as often as given."""
        return np.bincount(self._bins[chosen], minlength=self._nbin).astype(np.int32)

    def within_cut(self, cut: RadMax2D, position: Floats, pointing: Floats) -> NDArray[np.bool_]:
        """Events not farther from a position (3,) than the cut at their energy and at the position's offset."""
        offset = float(separation(position, pointing))
        return separation(self.vectors, position) <= cut_radius(cut, self.energy, offset)


def count_region(events: EventList, region: RegionGeom, observation: Observation) -> NDArray[np.int32]:
    """Counts (n_energy,) of a region; around a point, those within the response's directional cut.

    Parameters
    ----------
    events : EventList
    region : RegionGeom
        With the axis ``energy``.
    observation : Observation
        Brings cut and pointing.
    """
    binned = BinnedEvents(events, region.axis("energy"), region.frame)
    cut = directional_cut(region, observation)
    if cut is None:
        return binned.histogram(region.contains(binned.vectors))
    return binned.histogram(binned.within_cut(cut, region.center_vector, observation.pointing.vector))


def is_circle(region: RegionGeom) -> bool:
    """Whether a region is one circle."""
    return len(region.regions) == 1 and isinstance(region.regions[0], CircleSkyRegion)


def directional_cut(region: RegionGeom, observation: Observation) -> RadMax2D | None:
    """The directional cut that decides what belongs to a region; None where its shape does.

    Raises
    ------
    MissingHduError
        The region is a point and the responses have no cut.
    UnsupportedError
        The responses were made for another region: a cut that depends on energy or offset needs a point, one
        fixed radius a point or a circle of just this radius.
    """
    cut = observation.rad_max
    if region.is_point:
        if cut is None:
            raise MissingHduError(
                "the region is a point, and the responses have no directional cut (RAD_MAX)",
                hint="Give a region with an extent, or point-like responses",
            )
        return cut
    if cut is None:
        return None
    wanted = "a point"
    if cut.is_fixed_rad_max:
        fixed = float(cut.data[0, 0])
        wanted = f"a point, or a circle of {fixed:g} deg"
        if is_circle(region) and abs(region.radius - fixed) <= _SAME_RADIUS * fixed:
            return None
    raise UnsupportedError(
        f"the responses are point-like, and the region is {region.ds9!r}",
        hint=f"With their directional cut the region must be {wanted}",
    )


def cut_radius(cut: RadMax2D, energy: NDArray[np.floating], offset: float) -> Floats:
    """Radius (n,) in deg of a directional cut at the nodes nearest to energies (n,) and to an offset.

    Between two nodes the nearer one in the scaled coordinate counts, of two equally near the lower one; a cut of
    more than one number is 0 outside the range of its axes.
    """
    if cut.is_fixed_rad_max:
        return np.full(energy.shape, float(cut.data[0, 0]))
    energies, offsets = cut.axes
    at = np.full(energy.shape, offset)
    radius = cut.data[_nearest(energies, energy), _nearest(offsets, at)].astype(np.float64)
    known = energies.contains(energy) & offsets.contains(at) & np.isfinite(radius)
    return np.where(known, radius, 0.0)


def _nearest(axis: IrfAxis, values: NDArray[np.floating]) -> NDArray[np.intp]:
    lower, weight = axis.cell(values)
    return np.minimum(lower + (weight > 0.5), axis.nbin - 1)
