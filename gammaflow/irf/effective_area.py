"""Effective area."""

from __future__ import annotations

from gammaflow.irf.response import Irf


class EffectiveAreaTable2D(Irf):
    """Effective area in m2 over true energy and offset (GADF ``aeff_2d``).

    The safe energy range of the observation is in ``meta["LO_THRES"]`` and ``meta["HI_THRES"]`` (TeV).
    """

    tag = "aeff_2d"
    required_axes = ("energy_true", "offset")
    unit = "m2"
    column = "EFFAREA"
    extname = "EFFECTIVE AREA"
    hduclas2 = "EFF_AREA"
