"""Sums in a fixed order: dealing datasets to any number of threads changes no bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.likelihood import Reply, sums

SIZE = 7  # shared coordinates; the last two are spatial


def reply(rng: np.random.Generator, points: int, order: int = 2, empty: bool = True) -> Reply:
    """What a dataset could say that sees some of the coordinates."""
    index = np.flatnonzero(rng.random(SIZE) < 0.7).astype(np.intp)
    n, spatial = len(index), np.flatnonzero(index >= SIZE - 2).astype(np.intp)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 9, shape)

    return Reply(
        index=index,
        constant=float(numbers(1)[0]),
        variable=numbers(points),
        gradient=numbers(points, n if order else 0),
        gauss_newton=numbers(points, n * (n + 1) // 2 if order == 2 else 0),
        spatial=spatial if order == 2 else np.zeros(0, np.intp),
        second_order=numbers(points, len(spatial) if order == 2 else 0, n),
        invalid=rng.integers(0, 3, points),
        at_limit=rng.integers(0, 3, points),
        seconds=0.5,
        empty_gradient=numbers(points, n) if empty and order else None,
    )


def bits(found: Reply) -> dict[str, object]:
    return {
        field.name: value.tobytes() if isinstance(value, np.ndarray) else value
        for field in dataclasses.fields(found)
        for value in [getattr(found, field.name)]
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    datasets=st.integers(1, 40),
    threads=st.integers(1, 20),
    order=st.integers(0, 2),
)
def test_the_sum_has_the_same_bits_however_the_datasets_are_dealt(
    seed: int, datasets: int, threads: int, order: int
) -> None:
    rng = np.random.default_rng(seed)
    replies = [reply(rng, 3, order) for _ in range(datasets)]
    shards = sums.deal(replies, threads)
    whole = sums.total(replies)
    assert bits(sums.total([sums.total(shard) for shard in shards])) == bits(whole)
    assert sums.collected(shards) == tuple(replies)
    assert whole.datasets == datasets


@given(seed=st.integers(0, 2**32 - 1), datasets=st.integers(1, 12), order=st.integers(0, 2))
def test_it_is_the_sum_that_the_protocol_means(seed: int, datasets: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    replies = [reply(rng, 2, order) for _ in range(datasets)]
    whole = sums.total(replies)
    for number in range(2):
        found, parts = whole.at(number, SIZE), [part.at(number, SIZE) for part in replies]
        for field in dataclasses.fields(found):
            x, each = getattr(found, field.name), [getattr(part, field.name) for part in parts]
            if x is None:
                assert any(part is None for part in each), field.name
                continue
            y = np.sum(each, axis=0)
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * np.max(np.abs(each), initial=0.0))
    assert (whole.datasets, whole.seconds) == (datasets, 0.5 * datasets)


@pytest.mark.parametrize(
    ("datasets", "threads", "shards"),
    [(1, 1, 1), (1, 8, 1), (3, 2, 2), (3, 8, 3), (20, 1, 1), (20, 3, 4), (1000, 2, 2), (1000, 48, 64)],
)
def test_there_are_one_or_two_shards_for_each_thread(datasets: int, threads: int, shards: int) -> None:
    dealt = sums.deal(range(datasets), threads)
    assert len(dealt) == sums.number_of_shards(datasets, threads) == shards
    sizes = [len(shard) for shard in dealt]
    assert sum(sizes) == datasets
    assert max(sizes) - min(sizes) <= 1


def test_points_are_put_together_again_in_their_order() -> None:
    rng = np.random.default_rng(1)
    whole = reply(rng, 5)
    parts = [
        dataclasses.replace(
            whole,
            seconds=0.25,
            **{
                name: getattr(whole, name)[part]
                for name in (
                    *("variable", "gradient", "gauss_newton", "second_order"),
                    *("invalid", "at_limit", "empty_gradient"),
                )
            },
        )
        for part in (slice(0, 3), slice(3, 5))
    ]
    assert bits(sums.joined(parts)) == bits(whole)


def test_no_part_of_a_reply_is_forgotten() -> None:
    """A field that is added to replies has to be added up here, too."""
    assert {field.name for field in dataclasses.fields(Reply)} == {
        *("index", "constant", "variable", "gradient", "gauss_newton", "spatial", "second_order"),
        *("invalid", "at_limit", "datasets", "seconds", "empty_gradient"),
    }
