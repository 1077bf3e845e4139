"""The shape of the stack tree: a pure function of which observations there are and where they point.

The tree decides in which order float64 numbers are added, so it must not depend on what the cluster
does, nor on the history of the run. And it must be local: an observation more or less changes only the
partial sums on its own path, so that all others are found again.

Each observation has a code: the Z-order (Morton) code of where it points inside the parent geometry, which
keeps neighbours on the sky together and the partial sums small, then bits of a hash of its id, which
spread pointings that coincide, then the id itself, which makes the code unique. The codes span a binary
radix trie without single-child nodes. Bottom up, each trie node hands its parent a list of pieces:
its two children's lists joined, in order; where the joined list would be longer than ``fan_in``, the
longer of the two becomes a node of the stack tree first, a single piece of the list (then the other, if
it is still too long). So every node of the stack tree but the root has between ``(fan_in + 1) / 2`` and
``fan_in`` children, and what happens in one trie node depends on nothing but the observations below it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MORTON_BITS = 16
"""Bits per axis: cells of 1/65536 of the parent geometry, finer than any pointing."""


@dataclass(frozen=True, slots=True)
class Position:
    """One observation and where it points.

    Parameters
    ----------
    obs_id : int
        The observation.
    u, v : float
        Where it points, as fractions of the parent geometry's width and height. Clipped to [0, 1].
    """

    obs_id: int
    u: float = 0.5
    v: float = 0.5


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the stack tree.

    Parameters
    ----------
    children : tuple of int or Branch
        Operands in the order of summation: observation ids and other nodes.
    """

    children: tuple[int | Branch, ...]

    def obs_ids(self) -> Iterator[int]:
        """The observations below this node, in the order of summation."""
        for child in self.children:
            if isinstance(child, Branch):
                yield from child.obs_ids()
            else:
                yield child

    def branches(self) -> Iterator[Branch]:
        """This node and all below it, children before parents."""
        for child in self.children:
            if isinstance(child, Branch):
                yield from child.branches()
        yield self

    @property
    def depth(self) -> int:
        """Longest way down to an observation."""
        return 1 + max((child.depth for child in self.children if isinstance(child, Branch)), default=0)


def stack_tree(positions: Iterable[Position], fan_in: int = 8) -> Branch:
    """The stack tree of a set of observations.

    Parameters
    ----------
    positions : iterable of Position
        The observations, in any order, each once.
    fan_in : int
        Most children of a node; at least 2.

    Returns
    -------
    root : Branch
        The root; its children are all observations if there are at most ``fan_in``.

    Raises
    ------
    ValueError
        No observation, one that comes twice, or a fan-in below 2.
    """
    if fan_in < 2:
        raise ValueError(f"the fan-in of the stack tree must be at least 2, found {fan_in}")
    coded = sorted((code(position), position.obs_id) for position in positions)
    if not coded:
        raise ValueError("a stack tree needs at least one observation")
    for (first, obs_id), (second, _) in pairwise(coded):
        if first == second:
            raise ValueError(f"observation {obs_id} comes twice")
    return Branch(tuple(_pieces(coded, fan_in)))


def code(position: Position) -> int:
    """The observation's place in the order of summation: Z-order code, hash of the id, id.

    Equal ids at equal places have equal codes, different ids never.
    """
    place = _interleave(_cell(position.u), _cell(position.v))
    spread = int.from_bytes(hashlib.blake2b(str(position.obs_id).encode(), digest_size=8).digest(), "big")
    return (place << 128) | (spread << 64) | (position.obs_id & 0xFFFF_FFFF_FFFF_FFFF)


def _pieces(coded: Sequence[tuple[int, int]], fan_in: int) -> list[int | Branch]:
    """What the trie node over ``coded`` (sorted, unique) hands up: at most ``fan_in`` pieces."""
    if len(coded) == 1:
        return [coded[0][1]]
    # The first bit in which the codes differ is the highest in which the smallest and the largest do.
    bit = (coded[0][0] ^ coded[-1][0]).bit_length() - 1
    split = _first_with(coded, bit)
    lists = [_pieces(coded[:split], fan_in), _pieces(coded[split:], fan_in)]
    longer = 0 if len(lists[0]) >= len(lists[1]) else 1
    for side in (longer, 1 - longer):
        if len(lists[0]) + len(lists[1]) > fan_in:
            lists[side] = [Branch(tuple(lists[side]))]
    return lists[0] + lists[1]


def _first_with(coded: Sequence[tuple[int, int]], bit: int) -> int:
    """Index of the first code that has ``bit`` set, all above being equal (bisection)."""
    low, high = 0, len(coded) - 1
    while low < high:
        middle = (low + high) // 2
        if coded[middle][0] >> bit & 1:
            high = middle
        else:
            low = middle + 1
    return low


def _cell(fraction: float) -> int:
    cells = 1 << MORTON_BITS
    if not fraction > 0.0:  # also NaN: an observation without a pointing sits in the corner
        return 0
    return min(int(fraction * cells), cells - 1) if fraction < 1.0 else cells - 1


def _interleave(x: int, y: int) -> int:
    code = 0
    for bit in range(MORTON_BITS):
        code |= (x >> bit & 1) << (2 * bit) | (y >> bit & 1) << (2 * bit + 1)
    return code
