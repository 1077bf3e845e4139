"""When and where the simulated survey looks: wobble pointings on a grid along the Galactic plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammaflow.data.gti import GTI
from gammaflow.data.simulation.sky import SURVEY_CENTRE
from gammaflow.data.simulation.sphere import fov_matrix
from gammaflow.data.time_reference import DAY, TimeReference

Floats = NDArray[np.float64]

FIRST_OBS_ID = 100001
REFERENCE = TimeReference(60000.0, 0.0)
ZENITH = 20.0  # deg: the responses are for one zenith distance
_FIELDS = (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0)  # deg along the plane, most wanted first
_WOBBLES = ((0.7, 0.0), (-0.7, 0.0), (0.0, 0.7), (0.0, -0.7))  # deg
_SLOT, _SLOTS_PER_NIGHT = 2100.0, 12
_LONGEST_GAP = 60.0  # s


@dataclass(frozen=True)
class ScheduledObservation:
    """One observation of the survey before any event is drawn.

    Attributes
    ----------
    obs_id : int
    ra, dec, glon, glat : float
        Pointing in deg.
    gti : GTI
        After `REFERENCE`.
    deadc : float
        Live fraction of the time.
    """

    obs_id: int
    ra: float
    dec: float
    glon: float
    glat: float
    gti: GTI
    deadc: float

    @property
    def fov(self) -> Floats:
        """Rotation from ICRS to its field of view."""
        return fov_matrix(self.ra, self.dec)

    @property
    def livetime(self) -> float:
        """Live time in s."""
        return self.gti.ontime * self.deadc

    def random_times(self, n: int, rng: np.random.Generator) -> Floats:
        """``n`` times within the good time, in s after `REFERENCE`."""
        lengths = self.gti.stop - self.gti.start
        into = rng.random(n) * lengths.sum()
        row = np.searchsorted(np.cumsum(lengths), into, side="right").clip(max=len(lengths) - 1)
        return self.gti.start[row] + into - np.concatenate([[0.0], np.cumsum(lengths)])[row]


def observation_rng(seed: int, number: int) -> np.random.Generator:
    """Random numbers of observation ``number``: the same however many observations there are."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))


def schedule(number: int, rng: np.random.Generator, ontime: float) -> ScheduledObservation:
    """Observation ``number`` (from 0): four wobbles around each field, then the next field, then again.

    Its live fraction is drawn, and whether clouds cut out some of it: then there are two good time
    intervals.
    """
    field = _FIELDS[number // len(_WOBBLES) % len(_FIELDS)]
    wobble = _WOBBLES[number % len(_WOBBLES)]
    glon, glat = SURVEY_CENTRE[0] + field + wobble[0], SURVEY_CENTRE[1] + wobble[1]
    icrs = SkyCoord(glon, glat, unit="deg", frame="galactic").icrs
    slot = max(_SLOT, 1.1 * ontime + _LONGEST_GAP)
    night = DAY * np.ceil((_SLOTS_PER_NIGHT + 1) * slot / DAY)
    start = number // _SLOTS_PER_NIGHT * night + number % _SLOTS_PER_NIGHT * slot
    deadc = round(rng.uniform(0.93, 0.98), 4)
    if rng.random() < 0.2:
        first, gap = round(rng.uniform(0.3, 0.6) * ontime, 1), round(rng.uniform(10.0, _LONGEST_GAP), 1)
        gti = GTI([start, start + first + gap], [start + first, start + ontime + gap], REFERENCE)
    else:
        gti = GTI([start], [start + ontime], REFERENCE)
    # rounded: what is written is what is simulated, to the last bit
    return ScheduledObservation(
        FIRST_OBS_ID + number,
        round(float(icrs.ra.deg), 6),
        round(float(icrs.dec.deg), 6),
        glon,
        glat,
        gti,
        deadc,
    )
