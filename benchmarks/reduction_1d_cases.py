"""The reduction to spectra that is timed, as plain numbers that both sides read.

This module imports nothing but the standard library, so that it runs in Gammapy's environment too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpectrumCase:
    """Spectra of one source with reflected regions: which runs, which region, on which axes."""

    name: str
    store: str
    obs_ids: tuple[int, ...]
    center: tuple[float, float]  # ICRS, deg
    radius: float  # deg
    energy: tuple[float, float, int]  # TeV
    energy_true: tuple[float, float, int]
    aeff_percent: int


PKS_2155 = SpectrumCase(
    name="PKS 2155-304 (H.E.S.S.), reflected regions",
    store="hess-dl3-dr1",
    obs_ids=(
        33787, 33788, 33789, 33790, 33791, 33792, 33793, 33794, 33795, 33796,
        33797, 33798, 33799, 33800, 33801, 47802, 47803, 47804, 47827, 47828,
    ),
    center=(329.7169, -30.2256),
    radius=0.11,
    energy=(0.2, 30.0, 15),
    energy_true=(0.1, 60.0, 30),
    aeff_percent=10,
)  # fmt: skip
