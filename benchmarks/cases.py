"""The reductions that are timed, as plain numbers that both sides read.

This module imports nothing but the standard library, so that it runs in Gammapy's environment too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReductionCase:
    """One reduction: which runs, on what map, with which makers."""

    name: str
    store: str
    obs_ids: tuple[int, ...]
    frame: str
    center: tuple[float, float]
    width: tuple[float, float]
    energy: tuple[float, float, int]
    energy_true: tuple[float, float, int]
    cutout_offset: float
    safe_offset: float
    exclusion_radius: float | None = None

    @property
    def fov_background(self) -> bool:
        return self.exclusion_radius is not None


GALACTIC_CENTRE = ReductionCase(
    name="galactic centre (CTA-1DC)",
    store="cta-1dc/index/gps",
    obs_ids=(110380, 111140, 111159),
    frame="galactic",
    center=(0.0, 0.0),
    width=(10.0, 8.0),
    energy=(0.1, 10.0, 10),
    energy_true=(0.08, 12.0, 14),
    cutout_offset=3.5,
    safe_offset=3.0,
)

MSH_15_52 = ReductionCase(
    name="MSH 15-52 (H.E.S.S.)",
    store="hess-dl3-dr1",
    obs_ids=(
        20136, 20137, 20151, 20282, 20283, 20301, 20302, 20303, 20322, 20323,
        20324, 20325, 20343, 20344, 20345, 20346, 20365, 20366, 20367, 20368,
    ),
    frame="icrs",
    center=(228.529, -59.157),
    width=(5.0, 5.0),
    energy=(0.5, 50.0, 10),
    energy_true=(0.3, 70.0, 20),
    cutout_offset=2.5,
    safe_offset=2.5,
    exclusion_radius=0.4,
)  # fmt: skip

CASES = {"gc": GALACTIC_CENTRE, "msh": MSH_15_52}
