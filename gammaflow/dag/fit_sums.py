"""Sums over datasets that come out in the same bits, however the datasets are spread over workers.

Floating-point sums depend on their order, so the order is fixed once: a list is folded, its upper half onto its
lower half, until one is left (the halves are powers of two; what sticks out stays where it is)::

    fold(x) = fold(x[0::2]) + fold(x[1::2])

So the datasets can be dealt to any power of two of shards like cards, dataset i to shard i mod S: each shard folds its
own, the shards' sums are folded again, and every addition is the one that a single shard would have made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood import Reply

T = TypeVar("T")
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


def fold(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the first axis, in the fixed order; ``parts`` is used up."""
    count = len(parts)
    while count > 1:
        half = 1 << ((count - 1).bit_length() - 1)
        parts[: count - half] += parts[half:count]
        count = half
    return np.asarray(parts[0])


def total(replies: Sequence[Reply]) -> Reply:
    """Sum of replies to the same request, folded in the order given.

    Parameters
    ----------
    replies : sequence of Reply
        At least one; of datasets, or of shards of them.
    """
    first = replies[0]
    points = len(first.variable)
    index = np.unique(np.concatenate([reply.index for reply in replies]))
    spatial_index = np.unique(np.concatenate([reply.index[reply.spatial] for reply in replies]))
    spatial = np.searchsorted(index, spatial_index).astype(np.intp)
    n, r = len(index), len(spatial)
    with_gradient = any(reply.gradient.shape[1] for reply in replies)
    with_square = any(reply.gauss_newton.shape[1] for reply in replies)

    # Zeros stand for coordinates that a dataset does not depend on: adding them changes no bit.
    gradient = np.zeros((len(replies), points, n if with_gradient else 0))
    square = np.zeros((len(replies), points, n * (n + 1) // 2 if with_square else 0))
    second = np.zeros((len(replies), points, r, n))
    with_empty = all(reply.empty_gradient is not None for reply in replies)
    empty = np.zeros((len(replies), points, n if with_empty else 0))
    places: dict[bytes, tuple[Ints, Ints, Ints]] = {}
    for row, reply in enumerate(replies):
        known = reply.index.tobytes() + b"|" + reply.spatial.tobytes()
        if known not in places:
            place = np.searchsorted(index, reply.index).astype(np.intp)
            rows = np.searchsorted(spatial, place[reply.spatial]).astype(np.intp)
            places[known] = (place, _packed_places(place, n), rows)
        place, packed, rows = places[known]
        if reply.gradient.shape[1]:
            gradient[row][:, place] = reply.gradient
        if reply.gauss_newton.shape[1]:
            square[row][:, packed] = reply.gauss_newton
            second[row][np.ix_(np.arange(points), rows, place)] = reply.second_order
        if with_empty and reply.empty_gradient is not None:
            empty[row][:, place] = reply.empty_gradient
    return Reply(
        index=index.astype(np.intp),
        constant=float(fold(np.array([reply.constant for reply in replies]))),
        variable=fold(np.array([reply.variable for reply in replies])),
        gradient=fold(gradient) + 0.0,  # -0 becomes 0: zeros of other datasets would do the same
        gauss_newton=fold(square) + 0.0,
        spatial=spatial,
        second_order=fold(second) + 0.0,
        invalid=np.sum([reply.invalid for reply in replies], axis=0),
        at_limit=np.sum([reply.at_limit for reply in replies], axis=0),
        datasets=sum(reply.datasets for reply in replies),
        seconds=sum(reply.seconds for reply in replies),
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


def _packed_places(place: Ints, n: int) -> Ints:
    """Where the upper triangle over some of n coordinates stands in that over all, both row by row."""
    rows, columns = np.triu_indices(len(place))
    row, column = place[rows], place[columns]
    return np.asarray(row * n - row * (row - 1) // 2 + column - row, dtype=np.intp)
