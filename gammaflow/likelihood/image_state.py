"""The images of one source at one set of spatial parameters, still in Fourier space.

    I_k = sum_j U_kj image(h_j M),      H_k = sum_j U_kj h_j,     j = 1 ... J

H: transfer functions of the K true energies, M: the source. The point spread functions of neighbouring energies are
nearly the same, so that J, the number of *basis* functions h, is much smaller than K where the true energies are
many: maps are transformed for each h, and everything an energy needs is a sum over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.frequencies import CHUNK, Frequencies
from gammaflow.likelihood.projection import Projector
from gammaflow.likelihood.shape import Placed

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Ints = NDArray[np.intp]
Transfer = NDArray[np.float64] | NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Channel:
    """One part of a source's images: transfer functions, and what the pixels of the result are multiplied
    with.

    Parameters
    ----------
    transfers : tuple of array (J, Q)
        One, or three: those that go with M, and with its moments to east and north.
    weight : callable or None
        Gives the factors (c, N, N) for a stretch of energies; None for 1.
    """

    transfers: tuple[Transfer, ...]
    weight: Callable[[slice], Floats] | None = None


@dataclass(frozen=True, eq=False)
class Transfers:
    """The transfer functions of a source at its listed frequencies.

    Parameters
    ----------
    frequencies : Frequencies
    channels : tuple of Channel
        C parts that add up; empty when ``stacked`` is there.
    mixing : array (K, J) or None
        U; None where each energy has a transfer function of its own (J = K).
    stacked : array (n', J, A) or None
        The only part, where it is the plain one of a flat window: the transfer functions of the A frequencies that
        fall on a coefficient side by side, so that a product of small matrices folds them.
    """

    frequencies: Frequencies
    channels: tuple[Channel, ...]
    mixing: Floats | None
    stacked: Floats | None = None

    @property
    def basis(self) -> int:
        """J."""
        return len(self.channels[0].transfers[0]) if self.stacked is None else self.stacked.shape[1]

    @property
    def energies(self) -> int:
        """K."""
        return self.basis if self.mixing is None else len(self.mixing)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        own = 0 if self.stacked is None else self.stacked.nbytes
        return self.frequencies.u.nbytes * 3 + own + sum(t.nbytes for c in self.channels for t in c.transfers)

    def mixed(self, rows: Floats) -> Floats:
        """What belongs to the energies (K, ...) from what belongs to the basis (J, ...)."""
        return rows if self.mixing is None else np.tensordot(self.mixing, rows, axes=1)

    def gathered(self, rows: Floats) -> Floats:
        """The transpose of `mixed`: (K, n) to (J, n)."""
        return rows if self.mixing is None else np.asarray(self.mixing.T @ rows)

    def mixed_sums(self, first: Floats, second: Floats) -> Floats:
        """``sum_n first_kn second_kn`` (K,), the second rows given for the basis (J, n)."""
        if self.mixing is None:
            return np.asarray(np.einsum("kn,kn->k", first, second))
        return np.asarray((self.mixing * (first @ second.T)).sum(axis=1))


@dataclass(frozen=True, eq=False)
class ImageState:
    """The images of one source for one set of spatial parameters.

    Parameters
    ----------
    transfers : Transfers
    placed : tuple of Placed
        M, and its moments if there are any.
    projector : Flat or Warp
    """

    transfers: Transfers
    placed: tuple[Placed, ...]
    projector: Projector

    @property
    def energies(self) -> int:
        """K."""
        return self.transfers.energies

    @property
    def frequencies(self) -> Frequencies:
        """The listed ones."""
        return self.transfers.frequencies

    @property
    def derivatives(self) -> int:
        """How many first derivatives there are, r or 0."""
        return len(self.placed[0].first)

    # --- images ------------------------------------------------------------------------------------------

    def images(self) -> Iterator[tuple[slice, Floats]]:
        """I (c, N, N) for stretches of energies; each array is valid until the next one."""
        return self._of_energies(None)

    def derivative_images(self, number: int) -> Iterator[tuple[slice, Floats]]:
        """``dI / ds_j``, as `images`."""
        return self._of_energies(number)

    def at_pixels(
        self, pixels: Ints, adjoint: Complexes, numbers: Sequence[int | None] = (None,)
    ) -> tuple[Floats, Floats]:
        """Images and their derivatives at some pixels, and their sums with given maps.

        Parameters
        ----------
        pixels : array (n,) of int
            Flat in the window.
        adjoint : array (C, K, n')
            B of maps V, see `adjoint`.
        numbers : sequence of int or None
            Of derivatives; None for the images themselves; m of them.

        Returns
        -------
        values : array (m, J, n)
            Of the basis: `Transfers.mixed` makes those of the energies of them.
        sums : array (m, K)
            ``sum_p V_k[p] I_k[p]``.
        """
        values = np.empty((len(numbers), self.transfers.basis, len(pixels)))
        sums = np.zeros((len(numbers), self.energies))
        for i, folded in enumerate(self._folded(numbers)):
            for k in range(0, self.transfers.basis, CHUNK):
                part = slice(k, min(k + CHUNK, self.transfers.basis))
                values[i, part] = self.projector.sample(self.frequencies, folded[0][part], pixels)
                for channel, spectra in zip(self.transfers.channels[1:], folded[1:], strict=True):
                    extra = self.projector.sample(self.frequencies, spectra[part], pixels)
                    if channel.weight is not None:
                        extra *= channel.weight(part).reshape(len(extra), -1)[:, pixels]
                    values[i, part] += extra
            for own, spectra in zip(adjoint, folded, strict=True):
                sums[i] += self.transfers.mixed_sums(_as_reals(own), _as_reals(spectra))
        return values, sums

    def _folded(self, numbers: Sequence[int | None]) -> Iterator[list[Complexes]]:
        """For each of some derivatives the spectra of the channels as the projector takes them, (J, n') each."""
        listed, stacked = self.frequencies, self.transfers.stacked
        if stacked is None:
            for number in numbers:
                sources = [p.value if number is None else p.first[number] for p in self.placed]
                yield [
                    self.projector.fold(listed, _spectrum(channel, sources))
                    for channel in self.transfers.channels
                ]
            return
        plain = self.placed[0]
        rows = np.array([plain.value[0] if number is None else plain.first[number, 0] for number in numbers])
        folded = np.matmul(stacked, listed.stack(rows).view(np.float64)).view(np.complex128)
        for spectra in np.ascontiguousarray(folded.transpose(2, 1, 0)):
            yield [spectra]

    def _of_energies(self, number: int | None) -> Iterator[tuple[slice, Floats]]:
        mixing, ((*folded,),) = self.transfers.mixing, self._folded([number])
        stretches = self._synthesised(folded)
        if mixing is None:
            yield from stretches
            return
        basis = np.concatenate([image.copy() for _, image in stretches])
        for k in range(0, len(mixing), CHUNK):
            part = slice(k, min(k + CHUNK, len(mixing)))
            yield part, np.tensordot(mixing[part], basis, axes=1)

    def _synthesised(self, folded: Sequence[Complexes]) -> Iterator[tuple[slice, Floats]]:
        """Images of the basis."""
        for k in range(0, self.transfers.basis, CHUNK):
            part = slice(k, min(k + CHUNK, self.transfers.basis))
            image = self.projector.synthesise(self.frequencies, folded[0][part])
            for channel, spectra in zip(self.transfers.channels[1:], folded[1:], strict=True):
                image = image.copy()  # the buffer is used again
                extra = self.projector.synthesise(self.frequencies, spectra[part])
                image += extra if channel.weight is None else extra * channel.weight(part)
            yield part, image

    # --- sums over pixels ----------------------------------------------------------------------------------

    def adjoint(self, maps: Iterator[tuple[slice, Floats]], count: int) -> Complexes:
        """Coefficients B of ``count`` maps V that come in stretches (c, N, N).

        Returns
        -------
        array (C, count, n')
            ``sum_p V_k[p] image_k[p] = Re sum_n conj(B_ckn) F_ckn``, F the spectra as the projector folds them.
        """
        listed = self.frequencies
        weights = [channel.weight for channel in self.transfers.channels] or [None]
        out = np.empty((len(weights), count, self.projector.folded_count(listed)), dtype=np.complex128)
        for part, stretch in maps:
            for c, weight in enumerate(weights):
                weighted = stretch if weight is None else stretch * weight(part)
                out[c, part] = self.projector.adjoint(listed, weighted)
        return out

    def for_basis(self, adjoint: Complexes, fluxes: Floats) -> Complexes:
        """B (C, J, n') of the maps ``sum_k U_kj S_k V_k`` from those (C, K, n') of the maps V."""
        mixing = self.transfers.mixing
        if mixing is None:
            return np.asarray(adjoint * fluxes[:, None])
        weighted = (mixing * fluxes[:, None]).T
        return np.stack([(weighted @ _as_reals(own)).view(np.complex128) for own in adjoint])

    def second_sums(self, adjoint: Complexes) -> Floats:
        """``sum_k S_k sum_p V_k[p] d2I_k[p] / ds_i ds_j`` (r, r) from B (C, J, n') of the maps `for_basis` is for."""
        r, stacked = self.derivatives, self.transfers.stacked
        second = np.zeros((r, r))
        if stacked is not None:
            columns = np.ascontiguousarray(adjoint[0].T).conj()
            weights = np.matmul(
                stacked.transpose(0, 2, 1), columns.view(np.float64).reshape(*columns.shape, 2)
            )
            return self.placed[0].second_sum(
                self.frequencies.unstack(weights.view(np.complex128)[..., 0])[None]
            )
        for own, channel in zip(adjoint, self.transfers.channels, strict=True):
            listed = self.projector.unfold(self.frequencies, own)
            for transfer, placed in zip(channel.transfers, self.placed, strict=False):
                # the conjugate of what the derivatives of M are multiplied with
                if len(placed.value) == 1:
                    weights = np.einsum("jq,jq->q", listed.conj(), transfer)[None]
                else:
                    weights = listed.conj() * transfer
                second += placed.second_sum(weights)
        return second


def _as_reals(spectra: Complexes) -> Floats:
    """Real and imaginary parts side by side (k, 2 n): ``Re sum conj(a) b`` is a product of such rows."""
    return np.ascontiguousarray(spectra).view(np.float64)


def _spectrum(channel: Channel, sources: Sequence[Complexes]) -> Complexes:
    """Sum of the transfer functions times what they go with, (J, Q). A channel may leave out the moments."""
    total: Complexes | None = None
    for transfer, source in zip(channel.transfers, sources, strict=False):
        term: Complexes = np.multiply(transfer, source)
        total = term if total is None else np.add(total, term, out=total)
    if total is None:
        raise ValueError("a channel without a transfer function")
    return total
