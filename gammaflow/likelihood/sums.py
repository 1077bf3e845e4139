"""Sums over datasets that come out in the same bits, however the datasets are spread over workers.

Floating-point sums depend on their order, so the order is fixed once: a list is folded, its upper half onto its
lower half, until one is left (the halves are powers of two; what sticks out stays where it is)::

    fold(x) = fold(x[0::2]) + fold(x[1::2])

So the datasets can be dealt to any power of two of shards like cards, dataset i to shard i mod S: each shard folds its
own, the shards' sums are folded again, and every addition is the one that a single shard would have made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.protocol import Reply

T = TypeVar("T")
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def number_of_shards(datasets: int, threads: int) -> int:
    """Into how many shards to deal: the power of two from one to two for each thread, or fewer datasets."""
    return min(datasets, 1 << max(threads - 1, 0).bit_length())


def deal(items: Sequence[T], threads: int) -> tuple[tuple[T, ...], ...]:
    """Deal items like cards into shards, see `number_of_shards`; none is empty."""
    stride = 1 << max(threads - 1, 0).bit_length()
    return tuple(tuple(items[first::stride]) for first in range(number_of_shards(len(items), threads)))


def collected(shards: Sequence[Sequence[T]]) -> tuple[T, ...]:
    """The items in their first order."""
    longest = max((len(shard) for shard in shards), default=0)
    return tuple(shard[row] for row in range(longest) for shard in shards if row < len(shard))


def fold(parts: Floats) -> Floats:
    """Sum over the first axis, in the fixed order; ``parts`` is used up."""
    count = len(parts)
    while count > 1:
        half = 1 << ((count - 1).bit_length() - 1)
        parts[: count - half] += parts[half:count]
        count = half
    return np.asarray(parts[0])


@dataclass(frozen=True, eq=False)
class ReplyRows:
    """Answers of N datasets that depend on the same coordinates: a `Reply` whose arrays have N rows.

    Parameters
    ----------
    rows : array (N,) of int
        Places of the datasets among those that are added up.
    index, spatial
        As in `Reply`.
    constant : array (N,)
    variable, invalid, at_limit : array (N, P)
    gradient : array (N, P, n)
    gauss_newton : array (N, P, n (n + 1) / 2)
    second_order : array (N, P, r, n)
    empty_gradient : array (N, P, n) or None
    datasets : int
        In all of them.
    seconds : float
    """

    rows: Ints
    index: Ints
    spatial: Ints
    constant: Floats
    variable: Floats
    gradient: Floats
    gauss_newton: Floats
    second_order: Floats
    invalid: Ints
    at_limit: Ints
    empty_gradient: Floats | None
    datasets: int
    seconds: float

    @classmethod
    def of(cls, reply: Reply, row: int) -> Self:
        """The answer of one dataset."""
        empty = reply.empty_gradient
        return cls(
            np.array([row], dtype=np.intp),
            reply.index,
            reply.spatial,
            np.array([reply.constant]),
            reply.variable[None],
            reply.gradient[None],
            reply.gauss_newton[None],
            reply.second_order[None],
            reply.invalid[None],
            reply.at_limit[None],
            None if empty is None else empty[None],
            reply.datasets,
            reply.seconds,
        )

    def at(self, points: slice) -> Self:
        """The same of some of the points."""
        if points.start == 0 and points.stop >= self.variable.shape[1]:
            return self
        empty = self.empty_gradient
        return replace(
            self,
            variable=self.variable[:, points],
            gradient=self.gradient[:, points],
            gauss_newton=self.gauss_newton[:, points],
            second_order=self.second_order[:, points],
            invalid=self.invalid[:, points],
            at_limit=self.at_limit[:, points],
            empty_gradient=None if empty is None else empty[:, points],
        )


def total(replies: Sequence[Reply]) -> Reply:
    """Sum of replies to the same request, folded in the order given.

    Parameters
    ----------
    replies : sequence of Reply
        At least one; of datasets, or of shards of them.
    """
    return total_of_rows([ReplyRows.of(reply, row) for row, reply in enumerate(replies)], len(replies))


def total_of_rows(parts: Sequence[ReplyRows], count: int) -> Reply:
    """The same of ``count`` answers, some of which come together; each row stands in one of the parts."""
    points = parts[0].variable.shape[1]
    index = _union([part.index for part in parts])
    spatial = np.searchsorted(index, _union([part.index[part.spatial] for part in parts])).astype(np.intp)
    n, r = len(index), len(spatial)
    with_gradient = any(part.gradient.shape[2] for part in parts)
    with_square = any(part.gauss_newton.shape[2] for part in parts)
    with_empty = all(part.empty_gradient is not None for part in parts)

    # Zeros stand for coordinates that a dataset does not depend on: adding them changes no bit.
    constant, variable = np.zeros(count), np.zeros((count, points))
    gradient = np.zeros((count, points, n if with_gradient else 0))
    square = np.zeros((count, points, n * (n + 1) // 2 if with_square else 0))
    second = np.zeros((count, points, r, n))
    empty = np.zeros((count, points, n if with_empty else 0))
    invalid, at_limit = np.zeros(points, dtype=np.intp), np.zeros(points, dtype=np.intp)
    places: dict[bytes, tuple[Ints, Ints, Ints]] = {}
    for part in parts:
        rows = part.rows
        known = part.index.tobytes() + b"|" + part.spatial.tobytes()
        if known not in places:
            place = np.searchsorted(index, part.index).astype(np.intp)
            among = np.searchsorted(spatial, place[part.spatial]).astype(np.intp)
            places[known] = (place, _packed_places(place, n), among)
        place, packed, among = places[known]
        constant[rows], variable[rows] = part.constant, part.variable
        if part.gradient.shape[2]:
            _put(gradient, rows, place, part.gradient)
        if part.gauss_newton.shape[2]:
            _put(square, rows, packed, part.gauss_newton)
            if len(among):
                second[np.ix_(rows, np.arange(points), among, place)] = part.second_order
        if with_empty and part.empty_gradient is not None:
            _put(empty, rows, place, part.empty_gradient)
        invalid += part.invalid.sum(axis=0)
        at_limit += part.at_limit.sum(axis=0)
    return Reply(
        index=index.astype(np.intp),
        constant=float(fold(constant)),
        variable=fold(variable),
        gradient=fold(gradient) + 0.0,  # -0 becomes 0: zeros of other datasets would do the same
        gauss_newton=fold(square) + 0.0,
        spatial=spatial,
        second_order=fold(second) + 0.0,
        invalid=invalid,
        at_limit=at_limit,
        datasets=sum(part.datasets for part in parts),
        seconds=sum(part.seconds for part in parts),
        empty_gradient=fold(empty) + 0.0 if with_empty else None,
    )


def joined(blocks: Sequence[Reply]) -> Reply:
    """Answers to consecutive points of one request, put together."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    empty = [block.empty_gradient for block in blocks if block.empty_gradient is not None]
    return replace(
        first,
        variable=np.concatenate([block.variable for block in blocks]),
        gradient=np.concatenate([block.gradient for block in blocks]),
        gauss_newton=np.concatenate([block.gauss_newton for block in blocks]),
        second_order=np.concatenate([block.second_order for block in blocks]),
        invalid=np.concatenate([block.invalid for block in blocks]),
        at_limit=np.concatenate([block.at_limit for block in blocks]),
        seconds=sum(block.seconds for block in blocks),
        empty_gradient=np.concatenate(empty) if empty else None,
    )


def _union(parts: Sequence[Ints]) -> Ints:
    distinct = {part.tobytes(): part for part in parts}
    return np.unique(np.concatenate(list(distinct.values())))


def _put(into: Floats, rows: Ints, columns: Ints, values: Floats) -> None:
    """Set some columns of some rows of an array (count, P, n)."""
    if len(rows) == 1:
        into[rows[0]][:, columns] = values[0]
    elif len(columns) == into.shape[2]:
        into[rows] = values
    else:
        into[rows[:, None, None], np.arange(into.shape[1])[:, None], columns] = values


def _packed_places(place: Ints, n: int) -> Ints:
    """Where the upper triangle over some of n coordinates stands in that over all, both row by row."""
    rows, columns = np.triu_indices(len(place))
    row, column = place[rows], place[columns]
    return np.asarray(row * n - row * (row - 1) // 2 + column - row, dtype=np.intp)
