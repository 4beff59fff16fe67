"""Batching: which items run together, how long they wait, and which ones a failure reaches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from shortlist.deploy.serving.batching import Batcher, Busy, TooLate

Batches = list[list[int]]


def carried_out(
    batcher: Callable[[Batches], Batcher[int, int]],
    work: Callable[[Batcher[int, int], Batches], Awaitable[None]],
) -> Batches:
    """Returns the batches that were run."""
    batches: Batches = []

    async def main() -> None:
        made = batcher(batches)
        await made.start()
        try:
            await work(made, batches)
        finally:
            await made.stop()

    asyncio.run(main())
    return batches


def doubling(batches: Batches) -> Callable[[Sequence[int]], list[int]]:
    def run(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        return [2 * item for item in items]

    return run


def test_requests_that_wait_at_the_same_time_run_together_and_keep_their_answers() -> None:
    async def work(batcher: Batcher[int, int], batches: Batches) -> None:
        asked = [batcher.submit([n, 100 + n], 5) for n in range(6)]
        assert await asyncio.gather(*asked) == [[2 * n, 200 + 2 * n] for n in range(6)]

    batches = carried_out(lambda b: Batcher(doubling(b), 8, 0.2, 100), work)
    assert [len(batch) for batch in batches] == [8, 4]
    assert [item for batch in batches for item in batch][:4] == [0, 100, 1, 101]  # first come


def test_a_single_item_waits_no_longer_than_it_must() -> None:
    async def work(batcher: Batcher[int, int], batches: Batches) -> None:
        start = time.monotonic()
        assert await batcher.submit([1], 5) == [2]
        assert 0.04 < time.monotonic() - start < 2

    assert carried_out(lambda b: Batcher(doubling(b), 8, 0.05, 100), work) == [[1]]


def test_more_items_than_may_wait_are_refused_and_the_others_answered() -> None:
    async def work(batcher: Batcher[int, int], batches: Batches) -> None:
        first = asyncio.create_task(batcher.submit([1, 2], 5))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await batcher.submit([3, 4], 5)
        assert await first == [2, 4]

    carried_out(lambda b: Batcher(doubling(b), 8, 0.05, 3), work)


def test_an_answer_that_is_late_is_an_error_and_its_items_are_not_run_later() -> None:
    gate = threading.Event()

    def slow(batches: Batches) -> Callable[[Sequence[int]], list[int]]:
        def run(items: Sequence[int]) -> list[int]:
            batches.append(list(items))
            gate.wait(5)
            return list(items)

        return run

    async def work(batcher: Batcher[int, int], batches: Batches) -> None:
        first = asyncio.create_task(batcher.submit([1], 5))
        while not batches:
            await asyncio.sleep(0.001)
        with pytest.raises(TooLate):
            await batcher.submit([2], 0.02)
        third = asyncio.create_task(batcher.submit([3], 5))
        await asyncio.sleep(0.01)
        gate.set()
        assert await first == [1] and await third == [3]

    assert carried_out(lambda b: Batcher(slow(b), 1, 0, 100), work) == [[1], [3]]


def test_an_item_that_fails_does_not_fail_the_requests_of_others() -> None:
    def fragile(batches: Batches) -> Callable[[Sequence[int]], list[int]]:
        def run(items: Sequence[int]) -> list[int]:
            if 3 in items:
                raise ZeroDivisionError
            return list(items)

        return run

    async def work(batcher: Batcher[int, int], batches: Batches) -> None:
        asked = [batcher.submit([n], 5) for n in range(5)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert found[:3] == [[0], [1], [2]] and found[4] == [4]
        assert isinstance(found[3], ZeroDivisionError)

    carried_out(lambda b: Batcher(fragile(b), 8, 0.02, 100), work)
