"""How large a source's window has to be."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from gammaflow.likelihood.transfer import PointSpread
from gammaflow.modeling import SpatialModel

Floats = NDArray[np.float64]

#: Largest source, deg, whose convolution is looked at; beyond that its extent and the PSF's are added.
LARGEST_CONVOLVED = 1.5
#: An energy of its own may have this many times the share of all energies together outside.
_SINGLE = 10.0
#: Below this the transform of a source adds nothing.
_NOTHING = 1e-14
_RADII = 120
_DIRECTIONS = 8
_REFINED = 3


def source_reach(
    spread: PointSpread, model: SpatialModel, weights: Floats, containment: float, size_factor: float = 1.0
) -> float:
    """Radius in deg that holds a share of a source's counts after the PSF.

    The share of energy k inside R follows from the transforms, ``E_k(R) = 2 pi R int Phat_k(q) Mhat(q)
    J1(2 pi q R) dq``, Mhat taken in the direction in which the source is largest.

    Parameters
    ----------
    spread : PointSpread
    model : SpatialModel
        As it stands.
    weights : array (K,)
        Counts expected at each true energy.
    containment : float
        Share that is to be inside, of all energies together; of each one that matters, ten times as much
        may be outside.
    size_factor : float
        The source may become larger by this factor.
    """
    used = weights > 1e-6 * weights.max(initial=0.0)
    if not used.any():
        used, weights = np.ones(len(weights), dtype=np.bool_), np.ones(len(weights))
    extent = model.extent * size_factor
    last = float(spread.r[-1])
    if not model.has_transform or extent > LARGEST_CONVOLVED:
        return extent + float(spread.select(used).containment_radius(containment).max(initial=0.0))
    if extent == 0.0:
        inside = np.cumsum(spread.density * spread.ring, axis=1)
        radii = spread.r
    else:
        step = float(spread.q[1]) / _REFINED
        radii, q, bessel = _encircling(step, float(spread.q[-1]), last + LARGEST_CONVOLVED)
        profile = _largest_profile(model, q * size_factor)
        count = int(np.flatnonzero(np.abs(profile) > _NOTHING)[-1]) + 1
        inside = (spread.transform(q[:count]) * profile[:count]) @ bessel[:count]
        # what the trapezoid misses at q = 0, where the integrand rises linearly: step^2 / 12 times its slope
        inside += (np.pi * radii * step) ** 2 / 6.0
    outside = 1.0 - inside[used]
    share = weights[used] / weights[used].sum()
    missing = 1.0 - containment
    fails = (share @ outside > missing) | (outside.max(axis=0) > _SINGLE * missing)
    beyond = np.flatnonzero(fails)
    place = int(beyond[-1]) + 1 if len(beyond) else 0
    return float(min(radii[min(place, len(radii) - 1)], extent + last))


def _largest_profile(model: SpatialModel, q: Floats) -> Floats:
    """Mhat (T,) along the direction in which it falls fastest."""
    angles = np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    near = 0.1 / model.extent
    at_near = model.transform(near * np.sin(angles), near * np.cos(angles), (), 0).value
    angle = angles[int(np.argmin(at_near))]
    return model.transform(q * np.sin(angle), q * np.cos(angle), (), 0).value


@lru_cache(maxsize=4)
def _encircling(step: float, top: float, largest: float) -> tuple[Floats, Floats, Floats]:
    """Radii (n,), frequencies (T,), and the weights (T, n) that turn transforms into shares inside the radii."""
    radii = largest * np.arange(1, _RADII + 1, dtype=np.float64) / _RADII
    q = step * np.arange(int(top / step) + 1, dtype=np.float64)
    return radii, q, 2 * np.pi * radii * step * j1(2 * np.pi * np.outer(q, radii))
