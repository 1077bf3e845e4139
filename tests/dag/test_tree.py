"""The stack tree depends on nothing but the set of observations, and changes little when that does."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammaflow.dag.tree import Branch, Position, code, stack_tree

EXPECTED = [[20, 13, 5, [[3, 11, 8, 19], 7, 14, 6]], [[1, 2, [4, 17, 18]], 10, 12, [9, 15, 16]]]

FRACTIONS = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
SETS = st.dictionaries(st.integers(1, 10**6), st.tuples(FRACTIONS, FRACTIONS), min_size=1, max_size=120)


def positions(places: dict[int, tuple[float, float]]) -> list[Position]:
    return [Position(obs_id, u, v) for obs_id, (u, v) in places.items()]


def spread(count: int, seed: int = 0) -> list[Position]:
    rng = random.Random(seed)
    return [Position(number, rng.random(), rng.random()) for number in range(1, count + 1)]


def partials(root: Branch) -> set[Branch]:
    return set(root.branches())


@given(SETS, st.integers(2, 9), st.randoms(use_true_random=False))
def test_shape_depends_on_the_set_and_not_on_the_order(places, fan_in, rng):
    listed = positions(places)
    shuffled = listed[:]
    rng.shuffle(shuffled)
    assert stack_tree(listed, fan_in) == stack_tree(shuffled, fan_in)


@given(SETS, st.integers(2, 9))
def test_every_observation_is_in_it_once_in_the_order_of_the_codes(places, fan_in):
    listed = positions(places)
    root = stack_tree(listed, fan_in)
    assert list(root.obs_ids()) == [position.obs_id for position in sorted(listed, key=code)]


@given(SETS, st.integers(2, 9))
def test_nodes_hold_at_most_fan_in_children_and_inner_ones_more_than_half(places, fan_in):
    root = stack_tree(positions(places), fan_in)
    for branch in root.branches():
        assert 1 <= len(branch.children) <= fan_in
        if branch is not root:
            assert len(branch.children) >= (fan_in + 1) / 2


@settings(max_examples=200)
@given(SETS, st.integers(2, 9), st.data())
def test_one_observation_more_or_less_touches_only_the_trie_path(places, fan_in, data):
    """A new partial sum arises only from the trie nodes on the observation's path, two from each at most."""
    taken = data.draw(st.sampled_from(sorted(places)))
    with_it = stack_tree(positions(places), fan_in)
    places = dict(places)
    del places[taken]
    if not places:
        return
    without = stack_tree(positions(places), fan_in)
    bits = 2 * 16 + 128
    assert len(partials(with_it) - partials(without)) <= 2 * bits
    fresh = [branch for branch in partials(without) - partials(with_it) if branch is not without]
    path = [branch for branch in with_it.branches() if taken in set(branch.obs_ids())]
    lost = partials(with_it) - partials(without)
    beside = [branch for branch in lost if branch not in path]
    # What is lost beside the path are siblings that need not be a sum of their own any more, and the
    # other way round.
    assert all(branch in partials(with_it) for branch in lost)
    assert len(beside) + len(fresh) <= 4 * (len(path) + math.ceil(math.log2(len(places) + 1)) + 32)


@pytest.mark.parametrize("fan_in", [2, 4, 8, 16])
@pytest.mark.parametrize("count", [10, 100, 1000, 3000])
def test_inserting_one_of_many_redoes_a_logarithmic_number_of_sums(count, fan_in):
    listed = spread(count)
    before = partials(stack_tree(listed, fan_in))
    rng = random.Random(1)
    redone = []
    for number in range(30):
        inserted = [*listed, Position(10**6 + number, rng.random(), rng.random())]
        redone.append(len(partials(stack_tree(inserted, fan_in)) - before))
    assert max(redone) <= 3 * math.log2(count) + 4
    assert sum(redone) / len(redone) <= 1.5 * math.log2(count) + 3


def test_wobble_pointings_that_coincide_are_spread_by_the_hash_of_their_ids():
    root = stack_tree([Position(number, 0.5, 0.5) for number in range(1000)], 8)
    assert root.depth <= 8


def test_neighbours_on_the_sky_are_summed_first():
    corners = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]
    listed = [
        Position(100 * corner + number, u + 0.001 * number, v)
        for corner, (u, v) in enumerate(corners)
        for number in range(8)
    ]
    root = stack_tree(listed, 8)
    assert len(root.children) == 4
    for child in root.children:
        assert isinstance(child, Branch)
        assert len({obs_id // 100 for obs_id in child.obs_ids()}) == 1


def test_few_observations_are_summed_at_once():
    assert stack_tree(spread(8), 8).depth == 1
    assert stack_tree(spread(1), 8).children == (1,)


def test_pointings_outside_the_map_and_unknown_ones_have_a_place():
    listed = [Position(1, -3.0, 0.5), Position(2, 7.0, 0.5), Position(3, math.nan, math.nan)]
    assert sorted(stack_tree(listed, 2).obs_ids()) == [1, 2, 3]


def test_the_shape_is_the_same_in_ten_years():
    """Receipts on disk rely on it: a change needs a new version of the stack stage."""
    root = stack_tree(spread(20, seed=3), 4)
    shape = lambda branch: [shape(c) if isinstance(c, Branch) else c for c in branch.children]  # noqa: E731
    assert shape(root) == EXPECTED


@pytest.mark.parametrize(
    ("listed", "fan_in", "message"),
    [
        ([], 8, "at least one observation"),
        ([Position(1), Position(1)], 8, "observation 1 comes twice"),
        ([Position(1)], 1, "fan-in"),
    ],
)
def test_what_makes_no_tree_is_refused(listed, fan_in, message):
    with pytest.raises(ValueError, match=message):
        stack_tree(listed, fan_in)
