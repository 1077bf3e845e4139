"""One source in a condensed dataset: its counts in the active bins as a linear function of its fluxes.

    T_bk = R_ke exposure_k[p] I_k[p],     Ttot_k = sum_p W_k[p] I_k[p],     W_k = exposure_k sum_e R_ke mask_e

for active bin b with energy e and pixel p. A source whose place and shape are frozen is these two arrays. One that
moves makes them anew at every point; its derivatives come from one transform of ``V_k[p] = W_k[p] - sum_(b at p)
(n_b / mu_b) C_bk``, ``C_bk = R_ke exposure_k[p]``: gradient, flux-spatial and spatial-spatial second derivatives,
all exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.frequencies import CHUNK, Frequencies
from gammaflow.likelihood.image import ImageState, SourceImage

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SourceTerm:
    """What one source adds at one set of spatial parameters.

    Parameters
    ----------
    counts : array (K, nb)
        T, per unit flux, in the source's active bins.
    total : array (K,)
        Ttot: the same summed over all bins of the fit.
    """

    counts: Floats
    total: Floats


@dataclass(frozen=True, eq=False)
class MovedTerm(SourceTerm):
    """The same with what is needed to derive it by spatial parameters.

    Parameters
    ----------
    state : ImageState
    base : array (C, K, n')
        Adjoint of W.
    slopes : array (r, J, nb)
        Derivatives of the images at the active bins, of the images' basis.
    slope_totals : array (r, K)
        Derivatives of Ttot.
    """

    state: ImageState
    base: Complexes
    slopes: Floats
    slope_totals: Floats


@dataclass(frozen=True, eq=False)
class FrozenSource:
    """A source that does not move.

    Parameters
    ----------
    name : str
    flux : slice
        Its fluxes among the shared coordinates, K of them.
    rows : array (nb,) of int
        The active bins inside its window.
    only : SourceTerm
    """

    name: str
    flux: slice
    rows: Ints
    only: SourceTerm

    @property
    def energies(self) -> int:
        """K."""
        return len(self.only.total)

    @property
    def spatial_count(self) -> int:
        """No spatial parameter is free."""
        return 0

    @cached_property
    def coordinates(self) -> Ints:
        """The shared coordinates it depends on."""
        return np.arange(self.flux.start, self.flux.stop, dtype=np.intp)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.only.counts.nbytes + self.rows.nbytes

    def term(self, point: Floats, order: int) -> SourceTerm:
        """T and Ttot, the same at every point."""
        return self.only


class MovingSource:
    """A source with free spatial parameters.

    Parameters
    ----------
    image : SourceImage
    flux : slice
        Its fluxes among the shared coordinates, K of them.
    spatial : slice
        Its free spatial parameters there, r of them.
    rows : array (nb,) of int
        The active bins inside its window.
    pixel : array (nb,) of int
        Their pixels, flat in the window.
    energy : array (nb,) of int
        Their reconstructed energies.
    mask : array (E, ny, nx) of bool
        The bins of the fit in the part of the window that lies on the map.
    """

    def __init__(
        self,
        image: SourceImage,
        flux: slice,
        spatial: slice,
        rows: Ints,
        pixel: Ints,
        energy: Ints,
        mask: NDArray[np.bool_],
    ) -> None:
        self.name = image.name
        self.image = image
        self.flux = flux
        self.spatial = spatial
        self.rows = rows
        self.pixel = pixel
        # active bins lie on the map
        row, column = (
            place - part.start
            for place, part in zip(np.divmod(pixel, image.size), image.in_window, strict=True)
        )
        self.response = image.edisp[:, energy] * image.exposure[:, row, column]
        self._mask = mask
        # bins that share a pixel stand together
        self._order = np.argsort(pixel, kind="stable")
        self._pixels, self._starts = np.unique(pixel[self._order], return_index=True)
        self._base: tuple[Frequencies, Complexes] | None = None

    @property
    def energies(self) -> int:
        """K."""
        return len(self.response)

    @property
    def spatial_count(self) -> int:
        """How many free spatial parameters it has, r."""
        return self.spatial.stop - self.spatial.start

    @cached_property
    def coordinates(self) -> Ints:
        """The shared coordinates it depends on: K fluxes, r spatial parameters."""
        flux, spatial = self.flux, self.spatial
        return np.array([*range(flux.start, flux.stop), *range(spatial.start, spatial.stop)], dtype=np.intp)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = self.response.nbytes + self._mask.nbytes + self.rows.nbytes * 4 + self.image.nbytes
        return held + (0 if self._base is None else self._base[1].nbytes)

    def frozen(self) -> FrozenSource:
        """The source as it starts."""
        term = self._at(self.image.start, 0)
        return FrozenSource(self.name, self.flux, self.rows, SourceTerm(term.counts, term.total))

    def term(self, point: Floats, order: int) -> MovedTerm:
        """T and Ttot at a point (Z,)."""
        return self._at(point[self.spatial], order)

    def _at(self, values: Floats, order: int) -> MovedTerm:
        state = self.image.state(values, order)
        transfers, base = state.transfers, self._base_adjoint(state)
        images, totals = state.at_pixels(self.pixel, base, (None, *range(state.derivatives)))
        return MovedTerm(
            transfers.mixed(images[0]) * self.response, totals[0], state, base, images[1:], totals[1:]
        )

    def _base_adjoint(self, state: ImageState) -> Complexes:
        if self._base is None or self._base[0] is not state.frequencies:
            self._base = (state.frequencies, state.adjoint(self._weights(), self.energies))
        return self._base[1]

    def _weights(self) -> Iterator[tuple[slice, Floats]]:
        """W_k, in stretches."""
        image, mask = self.image, self._mask.astype(np.float64)
        for k in range(0, self.energies, CHUNK):
            part = slice(k, min(k + CHUNK, self.energies))
            weight = np.tensordot(image.edisp[part], mask, axes=1)
            window = np.zeros((len(weight), image.size, image.size))
            window[(slice(None), *image.in_window)] = weight * image.exposure[part]
            yield part, window

    def slopes(self, term: MovedTerm, fluxes: Floats) -> Floats:
        """D (r, nb): derivatives of the active bins' counts by the spatial parameters."""
        weighted = term.state.transfers.gathered(self.response * fluxes[:, None])
        return np.asarray(np.einsum("rjb,jb->rb", term.slopes, weighted))

    def derivatives(
        self, term: MovedTerm, ratio: Floats, fluxes: Floats, order: int
    ) -> tuple[Floats, Floats]:
        """Sums over the pixels of V times the derivatives of the images, for ratios n / mu of all active bins.

        Returns
        -------
        first : array (r, K)
            ``sum_p V_k[p] dI_k[p] / ds_j``.
        second : array (r, r)
            ``sum_k S_k sum_p V_k[p] d2I_k[p] / ds_i ds_j``; zero below order 2.
        """
        transfers = term.state.transfers
        weighted = self.response * ratio[self.rows]
        first = term.slope_totals - np.array(
            [transfers.mixed_sums(weighted, slopes) for slopes in term.slopes]
        ).reshape(term.slope_totals.shape)
        if order < 2:
            return first, np.zeros((len(first), len(first)))
        scattered = self._scattered(transfers.gathered(weighted * fluxes[:, None]))
        adjoint = term.state.adjoint(scattered, transfers.basis)
        np.subtract(term.state.for_basis(term.base, fluxes), adjoint, out=adjoint)
        return first, term.state.second_sums(adjoint)

    def _scattered(self, rows: Floats) -> Iterator[tuple[slice, Floats]]:
        """Maps of what stands in the active bins (J, nb), in stretches."""
        size, basis = self.image.size, len(rows)
        summed = np.zeros((basis, 0))
        if len(self._starts):
            summed = np.add.reduceat(rows[:, self._order], self._starts, axis=1)
        window = np.zeros((CHUNK, size * size))
        for k in range(0, basis, CHUNK):
            part = slice(k, min(k + CHUNK, basis))
            window[: part.stop - k, self._pixels] = summed[part]
            yield part, window[: part.stop - k].reshape(-1, size, size)


CondensedSource = FrozenSource | MovingSource
