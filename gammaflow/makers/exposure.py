"""Exposure: effective area times livetime, over the offset from the pointing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.irf import EffectiveAreaTable2D, IrfAxis
from gammaflow.maps import MapAxis

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExposureProjector:
    """Effective area at the true energies of a map, times livetime, ready to be put on offsets.

    Linear between the offsets of the table, extrapolated to its edges, not below 0, and 0 beyond the edges.

    Attributes
    ----------
    table : ndarray, shape (n_energy, n_offset)
        Exposure in m2 s at the nodes.
    offset : IrfAxis
        The table's offsets.
    invalid : ndarray of bool, shape (n_energy, n_cell), or None
        Cells that touch values that are not finite, where the exposure is 0.
    is_negative : bool
        Whether the table has negative values.
    """

    table: Floats
    offset: IrfAxis
    invalid: NDArray[np.bool_] | None
    is_negative: bool

    @classmethod
    def from_irf(
        cls, aeff: EffectiveAreaTable2D, energy_axis_true: MapAxis, livetime: float
    ) -> ExposureProjector:
        """Prepare an effective area for the centres of a true energy axis.

        Parameters
        ----------
        aeff : EffectiveAreaTable2D
        energy_axis_true : MapAxis
            The map's axis.
        livetime : float
            s.
        """

        def build() -> tuple[Floats, NDArray[np.bool_] | None]:
            energy = aeff.axis("energy_true")
            if aeff.is_finite:
                return energy.matrix(energy_axis_true.center) @ aeff.data.astype(np.float64), None
            # 0 * NaN must not spread: values go by as 0, and what their cells touch is remembered
            bad = energy.cell_matrix(energy_axis_true.center).astype(int) @ ~np.isfinite(aeff.data) > 0
            table = energy.matrix(energy_axis_true.center) @ np.nan_to_num(
                aeff.data.astype(np.float64), posinf=0.0, neginf=0.0
            )
            return table, bad[:, :-1] | bad[:, 1:] if bad.shape[1] > 1 else bad

        table, invalid = aeff.prepared(("exposure", energy_axis_true), build)
        return cls(table * livetime, aeff.axis("offset"), invalid, bool((table < 0).any()))

    def __call__(self, theta: Floats) -> Floats:
        """Exposure in m2 s at offsets (m,) in deg, shape (n_energy, m)."""
        nodes, weights = self.offset.nodes, self.offset.hats(theta)
        inside = self.offset.contains(theta)
        if not inside.all():
            np.copyto(weights, 0.0, where=~inside)
        exposure: Floats = self.table @ weights
        # Between the nodes nothing is negative where the table is not
        if self.is_negative or not (theta.min() >= nodes[0] and theta.max() <= nodes[-1]):
            np.maximum(exposure, 0.0, out=exposure)
        if self.invalid is not None:
            exposure[self.invalid[:, self.offset.cell(theta)[0]]] = 0.0
        return exposure
