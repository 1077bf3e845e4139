"""The frequencies of a window, and the way from Fourier coefficients to pixels and back.

    I[p] = 1/N^2 sum_n exp(2 pi i n.p / N) sum_m A(n / N + m),    m in {-a, ..., a}^2

``nu = n / N + m`` are frequencies in cycles/pixel. The sum over the *alias orders* m is the decimation of a continuous
function to pixels, so that nothing is oversampled.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Ints = NDArray[np.intp]

#: Maps transformed at a time: they stay in the cache, and their buffers are used again.
CHUNK = 4
#: Rows with so few coefficients, as a share of their pixels, are quicker by a product of matrices.
FEW = 8


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The listed frequencies of a window, Q of them: the half plane ``n_x >= 0``, as the image is real.

    Those that fall on the same Fourier coefficient (they differ in their alias order only) stand together.

    Parameters
    ----------
    size : int
        N.
    steps : array (2, Q) of int
        ``N nu``, x and y.
    u : array (2, Q)
        Sky frequency towards east and north, cycles/deg.
    place : array (2, Q) of int
        Row and column of each one's Fourier coefficient, ascending.
    weight : array (Q,)
        How often a term of a sum over the whole plane stands in one over the half plane: 1 in the columns
        that are their own mirror image, 2 elsewhere.
    """

    size: int
    steps: Ints
    u: Floats
    place: Ints
    weight: Floats

    @property
    def count(self) -> int:
        """Q."""
        return len(self.weight)

    @cached_property
    def columns(self) -> int:
        """Columns of Fourier coefficients that are needed: those above are zero."""
        return int(self.place[1].max(initial=0)) + 1

    @cached_property
    def _flat(self) -> Ints:
        """Coefficient of each frequency, in an array of N rows and `columns` columns."""
        return self.place[0] * self.columns + self.place[1]

    @cached_property
    def _folds(self) -> tuple[Ints, Ints, Ints] | None:
        """The coefficients, where the frequencies of each begin, and the coefficient of each frequency; None when
        each has one only.
        """
        coefficients, starts, places = np.unique(self._flat, return_index=True, return_inverse=True)
        return None if len(starts) == self.count else (coefficients, starts, places)

    @property
    def coefficients(self) -> int:
        """n', how many Fourier coefficients the frequencies fall on."""
        return self.count if self._folds is None else len(self._folds[0])

    @cached_property
    def radius(self) -> Floats:
        """|u|, (Q,)."""
        return np.hypot(self.u[0], self.u[1])

    @cached_property
    def nu(self) -> Floats:
        """Frequencies in cycles/pixel, (2, Q)."""
        return self.steps / self.size

    @cached_property
    def sum_weight(self) -> Floats:
        """``weight / N^2`` (Q,): ``sum_p V[p] I[p] = Re sum_q sum_weight conj(V_q) A_q``."""
        return self.weight / self.size**2

    def select(self, keep: NDArray[np.bool_]) -> Frequencies:
        """Those where ``keep`` (Q,) holds. It must hold for a frequency if it does for its mirror image."""
        steps, place = (np.ascontiguousarray(array[:, keep]) for array in (self.steps, self.place))
        return Frequencies(self.size, steps, np.ascontiguousarray(self.u[:, keep]), place, self.weight[keep])

    def phase(self, pixel: Floats) -> Complexes:
        """``exp(-2 pi i nu . pixel)``, (Q,): moves an image from the window's first pixel to ``pixel`` (2,)."""
        low, high = self._range
        tables = []
        for axis in (0, 1):
            angle = (-2 * np.pi * pixel[axis] / self.size) * np.arange(low[axis], high[axis] + 1)
            tables.append(np.exp(1j * angle))
        return tables[0][self.steps[0] - low[0]] * tables[1][self.steps[1] - low[1]]

    @cached_property
    def _range(self) -> tuple[Ints, Ints]:
        if not self.count:
            return np.zeros(2, dtype=np.intp), np.zeros(2, dtype=np.intp)
        return self.steps.min(axis=1), self.steps.max(axis=1)

    @property
    def folds(self) -> bool:
        """Whether several frequencies fall on one coefficient."""
        return self._folds is not None

    @cached_property
    def _slots(self) -> tuple[Ints, Ints, int]:
        """The coefficient of each frequency, its number among those of that coefficient, and the largest count."""
        if self._folds is None:
            return np.arange(self.count), np.zeros(self.count, dtype=np.intp), 1
        _, starts, places = self._folds
        slots = np.arange(self.count) - starts[places]
        return places, slots, int(slots.max(initial=0)) + 1

    def stack(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (m, Q) as an array (n', A, m): those of the A frequencies of a coefficient side by side, 0 where
        there are fewer.
        """
        places, slots, depth = self._slots
        out = np.zeros((self.coefficients, depth, len(values)), dtype=values.dtype)
        out[places, slots] = values.T
        return out

    def unstack(self, stacked: NDArray[Any]) -> NDArray[Any]:
        """Back from (n', A) to (Q,)."""
        places, slots, _ = self._slots
        return stacked[places, slots]

    def fold(self, spectra: Complexes) -> Complexes:
        """Fourier coefficients (c, n') of spectra (c, Q): sums over the alias orders."""
        if self._folds is None:
            return spectra
        return np.asarray(np.add.reduceat(spectra, self._folds[1], axis=1))

    def unfold(self, coefficients: Complexes) -> Complexes:
        """The coefficient (c, Q) that each frequency falls on, of those (c, n')."""
        return coefficients if self._folds is None else coefficients[:, self._folds[2]]

    def synthesise(self, spectra: Complexes) -> Floats:
        """Images (c, N, N) of spectra (c, Q), c at most `CHUNK`. The buffer is used again by the next call."""
        return self.image(self.fold(spectra))

    def image(self, coefficients: Complexes) -> Floats:
        """Images (c, N, N) of Fourier coefficients (c, n'), c at most `CHUNK`; the buffer is used again."""
        work = _workspace(self.size, self.columns)
        c = len(coefficients)
        folded = work.folded[:c]
        folded[...] = 0.0
        folded.reshape(c, -1)[:, self._flat if self._folds is None else self._folds[0]] = coefficients
        np.fft.ifft(folded, axis=1, out=work.columns[:c])
        if self.columns * FEW > self.size:
            return np.fft.irfft(work.columns[:c], n=self.size, axis=2, out=work.image[:c])
        waves = _waves(self.size, self.columns)
        return np.matmul(work.columns[:c].view(np.float64), waves, out=work.image[:c])

    def analyse(self, maps: Floats) -> Complexes:
        """``sum_p map[p] exp(-2 pi i nu . p)`` (c, Q) of maps (c, N, N), c at most `CHUNK`."""
        return self.unfold(self.analyse_folded(maps))

    def analyse_folded(self, maps: Floats) -> Complexes:
        """The same for each Fourier coefficient once, (c, n')."""
        work = _workspace(self.size, self.columns)
        c = len(maps)
        rows = np.fft.rfft(maps, axis=2, out=work.half[:c])
        np.fft.fft(rows[:, :, : self.columns], axis=1, out=work.columns[:c])
        where = self._flat if self._folds is None else self._folds[0]
        return work.columns[:c].reshape(c, -1)[:, where]

    @cached_property
    def folded_weight(self) -> Floats:
        """`sum_weight` of each Fourier coefficient, (n',)."""
        return self.sum_weight if self._folds is None else self.sum_weight[self._folds[1]]


@lru_cache(maxsize=32)
def _waves(size: int, columns: int) -> Floats:
    """Matrix (2 columns, N) from real and imaginary parts of a row's first coefficients to its pixels."""
    n = np.arange(columns)
    weight = np.where((n == 0) | (2 * n == size), 1.0, 2.0) / size
    waves = weight[:, None] * np.exp(2j * np.pi / size * np.outer(n, np.arange(size)))
    return np.ascontiguousarray(np.stack([waves.real, -waves.imag], axis=1).reshape(2 * columns, size))


@lru_cache(maxsize=32)
def frequencies_of(size: int, alias: int, jacobian: tuple[float, ...], cut: float) -> Frequencies:
    """All listed frequencies of a window of N pixels below a cut.

    Parameters
    ----------
    size : int
        N.
    alias : int
        Alias order.
    jacobian : tuple of float
        J row by row, pixel/deg.
    cut : float
        ``|u|`` stays below, cycles/deg.
    """
    transposed = np.array(jacobian).reshape(2, 2).T
    columns = size // 2 + 1
    n_x = np.arange(columns)
    n_y = np.rint(np.fft.fftfreq(size) * size).astype(np.intp)
    rows = np.arange(size)
    steps, us, places = [], [], []
    for m_x in range(-alias, alias + 1):
        for m_y in range(-alias, alias + 1):
            k_x, k_y = n_x + m_x * size, n_y + m_y * size
            # the outermost half step has no mirror image in the list
            inside_x, inside_y = (np.abs(2 * k) < (2 * alias + 1) * size for k in (k_x, k_y))
            u = [(transposed[e, 0] * k_x[None, :] + transposed[e, 1] * k_y[:, None]) / size for e in (0, 1)]
            keep = inside_x[None, :] & inside_y[:, None] & (u[0] ** 2 + u[1] ** 2 < cut * cut)
            row, column = np.nonzero(keep)
            steps.append(np.stack([k_x[column], k_y[row]]))
            us.append(np.stack([u[0][keep], u[1][keep]]))
            places.append(np.stack([rows[row], column]))
    place = np.concatenate(places, axis=1)
    order = np.lexsort((place[1], place[0]))
    place = np.ascontiguousarray(place[:, order])
    weight = np.where((place[1] == 0) | (2 * place[1] == size), 1.0, 2.0)
    step, u_all = (np.ascontiguousarray(np.concatenate(parts, axis=1)[:, order]) for parts in (steps, us))
    return Frequencies(size, step, u_all, place, weight)


class _Workspace:
    """Buffers for the transforms of one window size."""

    def __init__(self, size: int, columns: int) -> None:
        self.folded = np.empty((CHUNK, size, columns), dtype=np.complex128)
        self.columns = np.empty((CHUNK, size, columns), dtype=np.complex128)
        self.half = np.empty((CHUNK, size, size // 2 + 1), dtype=np.complex128)
        self.image = np.empty((CHUNK, size, size))


_BUFFERS = threading.local()
_BUFFERS_KEPT = 8


def _workspace(size: int, columns: int) -> _Workspace:
    kept: dict[tuple[int, int], _Workspace] = _BUFFERS.__dict__.setdefault("kept", {})
    work = kept.pop((size, columns), None) or _Workspace(size, columns)
    kept[size, columns] = work  # the latest used stands last
    if len(kept) > _BUFFERS_KEPT:
        del kept[next(iter(kept))]
    return work
