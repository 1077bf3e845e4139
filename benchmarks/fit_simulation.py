"""Simulated observations for fits, as plain arrays: responses in closed form, and counts drawn from them.

A wobble observation i of n points 0.7 deg from the map's centre, where the source is: a Gaussian of 0.1 deg
with a power law that is cut off. Exposure, PSF and background fall off with the distance from the pointing.
The PSF is a Gaussian, so that the source's image is one too and needs neither side's machinery.

This module imports numpy and scipy only, so that it runs in Gammapy's environment too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, ndtr

CENTER = (83.63, 22.01)  # deg, ICRS
PIXEL = 0.02  # deg
IRF_PIXEL = 0.2  # deg
ENERGY = (0.1, 50.0, 10)  # TeV
ENERGY_TRUE = (0.08, 80.0, 20)  # TeV
RAD_EDGES = np.linspace(0.0, 0.66, 67)  # deg
WOBBLE = 0.7  # deg
FIELD = 3.0  # deg, what is safe around the pointing
LIVETIME = 1800.0  # s
SIZE = 0.1  # deg, of the source
INDEX, AMPLITUDE, CUTOFF = 2.3, 2.8e-12, 0.1  # at 1 TeV; cm-2 s-1 TeV-1; TeV-1

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Simulated:
    """Arrays of one observation, in the order and with the names of a `MapDataset`; ``expected`` counts (E, y, x)."""

    arrays: dict[str, NDArray[np.generic]]
    expected: Floats

    def draw(self, seed: int) -> NDArray[np.int32]:
        """Poisson counts (E, y, x)."""
        return drawn(np.cumsum(self.expected), seed).reshape(self.expected.shape)


def drawn(cumulative: Floats, seed: int) -> NDArray[np.int32]:
    """Poisson counts, flat, for the cumulative sum of what is expected: their total number, and a place for each."""
    rng = np.random.default_rng(seed)
    total = rng.poisson(cumulative[-1])
    places = np.searchsorted(cumulative, np.sort(rng.random(total)) * cumulative[-1])
    return np.bincount(places, minlength=len(cumulative)).astype(np.int32)


def observation(number: int, of: int, pixels: int) -> Simulated:
    """Observation ``number`` of ``of`` on a map of ``pixels`` x ``pixels``."""
    angle = 2 * np.pi * number / of
    pointing = WOBBLE * np.array([np.cos(angle), np.sin(angle)])
    edges, true_edges = (np.geomspace(low, high, n + 1) for low, high, n in (ENERGY, ENERGY_TRUE))
    energy, true = np.sqrt(edges[1:] * edges[:-1]), np.sqrt(true_edges[1:] * true_edges[:-1])
    irf_pixels = int(np.rint(pixels * PIXEL / IRF_PIXEL))
    away, away_irf = _offset(pixels, PIXEL, pointing), _offset(irf_pixels, IRF_PIXEL, pointing)

    exposure = _area(true[:, None, None], away) * LIVETIME
    weight = (_area(true[:, None, None], away_irf) * LIVETIME).astype(np.float32)
    rad = 0.5 * (RAD_EDGES[1:] + RAD_EDGES[:-1])
    width = _psf_width(true[:, None, None], away_irf)[:, None]
    psf = np.exp(-0.5 * (rad[:, None, None] / width) ** 2) / (2 * np.pi * np.radians(width) ** 2)
    below = ndtr(np.log(edges / true[:, None]) / 0.15)
    edisp = np.diff(below, axis=1)
    safe = np.broadcast_to(away < FIELD, (len(energy), pixels, pixels))

    signal = np.tensordot(edisp.T * _fluxes(true_edges), exposure * _source(true, pixels), axes=1)
    background = _background(edges, away)
    arrays = {
        "background": background.astype(np.float32),
        "exposure": exposure.astype(np.float32),
        "psf": psf.astype(np.float32),
        "psf_exposure": weight,
        "edisp": np.broadcast_to(edisp[:, :, None, None], (*edisp.shape, *away_irf.shape)).astype(np.float32),
        "edisp_exposure": weight,
        "mask_safe": safe,
    }
    return Simulated(arrays, (background + signal) * safe)


def _offset(pixels: int, pixel: float, pointing: Floats) -> Floats:
    """Distance from the pointing, deg (y, x)."""
    along = (np.arange(pixels) - 0.5 * (pixels - 1)) * pixel
    return np.hypot(along - pointing[0], along[:, None] - pointing[1])


def _area(energy: Floats, offset: Floats) -> Floats:
    """Effective area, m2."""
    return 4e6 / (1 + 3.0 / energy) / (1 + (0.06 / energy) ** 2.5) / (1 + (offset / 3.5) ** 4)


def _psf_width(energy: Floats, offset: Floats) -> Floats:
    """deg."""
    return np.hypot(0.025, 0.03 * energy**-0.45) * (1 + (offset / 5.0) ** 2)


def _background(edges: Floats, offset: Floats) -> Floats:
    """About 20 000 counts in the field of view."""
    spectrum = -np.diff((edges / edges[0]) ** -1.7)[:, None, None]
    return 20_000 * spectrum * np.exp(-0.5 * (offset / 2.2) ** 2) * (PIXEL / 2.2) ** 2 / (2 * np.pi)


def _fluxes(edges: Floats) -> Floats:
    """Integral of the source's spectrum over each bin, m-2 s-1."""
    fine = np.geomspace(edges[:-1], edges[1:], 101)
    dnde = AMPLITUDE * 1e4 * fine**-INDEX * np.exp(-CUTOFF * fine)
    return np.trapezoid(dnde, fine, axis=0)


def _source(energy: Floats, pixels: int) -> Floats:
    """Share (K, y, x) of the source that falls into each pixel."""
    edges = (np.arange(pixels + 1) - 0.5 * pixels) * PIXEL
    width = np.hypot(SIZE, _psf_width(energy, np.float64(WOBBLE)))
    along = np.diff(0.5 * erf(edges / (np.sqrt(2) * width[:, None])), axis=1)
    return along[:, :, None] * along[:, None, :]
