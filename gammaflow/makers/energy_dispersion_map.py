"""Energy dispersion on the response grid of a map, as a kernel or over a migration axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.irf import EnergyDispersion2D, IrfAxis
from gammaflow.maps import MapAxis

Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-8  # kernel values below this are numerical noise


@dataclass(frozen=True)
class KernelProjector:
    """Energy dispersion prepared for one pair of energy axes.

    With T the table at the true energies E, the kernel of the reconstructed bin [e_j, e_j+1] is

        K_j = sum_m R_jm T_m / sum_m dmu_m T_m,
        R_jm = F_j+1,m - F_jm,  F_jm = clip((e_j / E - mu_m) / dmu_m, 0, 1) dmu_m,

    mu_m being the lower edges of the migration bins. Numerator and norm are linear in the table, so both can
    be interpolated over the offset; their ratio cannot, nor does clipping at 0 commute with the interpolation.
    Bins with a negative entry are therefore left out of the two sums, and added for each pixel.

    Attributes
    ----------
    table : ndarray, shape (n_true, n_migra, n_offset)
    rows : ndarray, shape (n_true, n_reco, n_migra)
        R.
    widths : ndarray, shape (n_migra,)
    numerator : ndarray, shape (n_true, n_reco, n_offset)
    norm : ndarray, shape (n_true, n_offset)
    negative : ndarray of bool, shape (n_true, n_migra)
        Bins that are left out.
    is_finite : bool
        Whether the table is.
    """

    table: Floats
    rows: Floats
    widths: Floats
    numerator: Floats
    norm: Floats
    negative: NDArray[np.bool_]
    is_finite: bool

    @classmethod
    def from_irf(
        cls, edisp: EnergyDispersion2D, energy_true: Floats, energy_edges: Floats
    ) -> KernelProjector:
        """Prepare a response for true energies and for the edges of reconstructed ones (TeV)."""
        migra = edisp.axis("migra")
        table = _at_true_energies(edisp, energy_true)
        position = energy_edges[None, :, None] / energy_true[:, None, None]
        filled = np.clip((position - migra.edges[:-1]) / migra.bin_width, 0.0, 1.0) * migra.bin_width
        rows = np.diff(filled, axis=1)
        finite = bool(np.isfinite(table).all())
        # False for NaN, too
        negative: NDArray[np.bool_] = np.logical_not((table >= 0).all(axis=2) & (table < np.inf).all(axis=2))
        positive = np.where(negative[:, :, None], 0.0, table)
        norm = migra.bin_width @ positive
        return cls(table, rows, migra.bin_width, rows @ positive, norm, negative, finite)

    def __call__(self, axis: IrfAxis, offset: Floats) -> Floats:
        """Kernel at offsets (n_pixel,) in deg of the response's offset axis, (n_true, n_reco, n_pixel)."""
        nodes = axis.nodes
        weights = axis.matrix(offset).T
        numerator = (self.numerator.reshape(-1, nodes.size) @ weights).reshape(*self.rows.shape[:2], -1)
        norm = self.norm @ weights
        if self.negative.any():
            self._add_clipped(numerator, norm, axis, offset)
        beyond = axis.contains(offset) & ((offset < nodes[0]) | (offset > nodes[-1]))
        if beyond.any():
            # Extrapolation turns entries negative: here every bin is clipped
            density = _over_offset(self.table, axis, offset[beyond])
            numerator[:, :, beyond] = self.rows @ density
            norm[:, beyond] = self.widths @ density
        with np.errstate(divide="ignore", invalid="ignore"):
            kernel = numerator / norm[:, None, :]
        # The comparison is false for 0 / 0, too
        return np.where(kernel >= NEGLIGIBLE, kernel, 0.0)

    def _add_clipped(self, numerator: Floats, norm: Floats, axis: IrfAxis, offset: Floats) -> None:
        """Add the bins that were left out, each clipped where it is interpolated."""
        if self.is_finite:
            density = self.table[self.negative] @ axis.matrix(offset).T
            np.maximum(density, 0.0, out=density)
        else:
            density = _over_offset(self.table[self.negative], axis, offset) * axis.contains(offset)
        last = np.cumsum(np.count_nonzero(self.negative, axis=1))
        for k, bins in enumerate(self.negative):
            here = density[last[k] - np.count_nonzero(bins) : last[k]]
            numerator[k] += self.rows[k][:, bins] @ here
            norm[k] += self.widths[bins] @ here


def make_edisp_kernel(
    edisp: EnergyDispersion2D, energy_axis_true: MapAxis, energy_axis: MapAxis, offset: Floats
) -> NDArray[np.float32]:
    """Probability of each reconstructed energy bin at the centres of true energy bins.

    Values below 1e-8 are 0. True energies outside the response's range are extrapolated.

    Parameters
    ----------
    edisp : EnergyDispersion2D
    energy_axis_true, energy_axis : MapAxis
        TeV.
    offset : ndarray, shape (n_pixel,)
        Distance of the pixels from the pointing, deg.

    Returns
    -------
    kernel : ndarray of float32, shape (n_true, n_reco, n_pixel)
    """
    projector = edisp.prepared(
        ("kernel", energy_axis_true, energy_axis),
        lambda: KernelProjector.from_irf(edisp, energy_axis_true.center, energy_axis.edges),
    )
    return projector(edisp.axis("offset"), offset).astype(np.float32)


def make_edisp_migra(
    edisp: EnergyDispersion2D, energy_axis_true: MapAxis, migra_axis: MapAxis, offset: Floats
) -> NDArray[np.float32]:
    """Density over the bins of a migration axis, normalised: ``sum_m dmu_m edisp_m = 1``.

    Parameters
    ----------
    edisp : EnergyDispersion2D
    energy_axis_true, migra_axis : MapAxis
    offset : ndarray, shape (n_pixel,)
        Distance of the pixels from the pointing, deg.

    Returns
    -------
    edisp : ndarray of float32, shape (n_true, n_migra, n_pixel)
    """
    energy, migra, theta = edisp.axes

    def build() -> Floats:
        table = _at_true_energies(edisp, energy_axis_true.center)
        lower, weight = migra.cell(migra_axis.center)
        upper = np.minimum(lower + 1, migra.nbin - 1)
        table = table[:, lower] * (1.0 - weight)[:, None] + table[:, upper] * weight[:, None]
        inside = energy.contains(energy_axis_true.center)[:, None] | migra.contains(migra_axis.center)
        return np.where(inside[:, :, None], table, 0.0)

    table = edisp.prepared(("migra", energy_axis_true, migra_axis), build)
    density = _over_offset(table, theta, offset) * theta.contains(offset)
    with np.errstate(divide="ignore", invalid="ignore"):
        density /= (migra_axis.bin_width @ density)[:, None, :]
    return np.nan_to_num(density).astype(np.float32)


def _at_true_energies(edisp: EnergyDispersion2D, energy_true: Floats) -> Floats:
    """Table at true energies, extrapolated beyond the response's range; (n_true, n_migra, n_offset)."""
    energy = edisp.axis("energy_true")
    lower, weight = energy.cell(energy_true)
    upper = np.minimum(lower + 1, energy.nbin - 1)
    weight = weight[:, None, None]
    data = edisp.data
    return data[lower].astype(np.float64) * (1.0 - weight) + data[upper].astype(np.float64) * weight


def _over_offset(table: Floats, axis: IrfAxis, offset: Floats) -> Floats:
    """Table (..., n_offset) at offsets (n_pixel,), extrapolated, clipped at 0, and 0 where not finite."""
    lower, weight = axis.cell(offset)
    upper = np.minimum(lower + 1, axis.nbin - 1)
    values = table[..., lower] * (1.0 - weight) + table[..., upper] * weight
    return np.where(values > 0, values, 0.0)
