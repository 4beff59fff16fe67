"""Dynamic batching: items that wait at the same time are run together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Busy(Exception):
    """So many items wait that no further ones are taken."""


class TooLate(Exception):
    """The answer did not come in time."""


@dataclass(frozen=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    since: float


class Batcher(Generic[Item, Answer]):
    """Runs items in batches, one batch at a time, in a thread of its own.

    A batch starts when `max_batch` items wait, or `max_wait` seconds after the first of them came;
    items that came while another batch ran start with the next one. An item whose request has timed
    out is not run. Where a batch fails, each of its items is run alone, so that one item cannot
    fail the requests of others.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Answer]],
        max_batch: int,
        max_wait: float,
        max_waiting: int,
        ran: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """Stores the settings.

        Args:
            run: from items to as many answers; called in one thread.
            max_batch: items a batch.
            max_wait: seconds that the first item of a batch waits for others.
            max_waiting: items that may wait; more are refused.
            ran: called with size and seconds of each batch.
        """
        self._run, self._ran = run, ran
        self._max_batch, self._max_wait, self._max_waiting = max_batch, max_wait, max_waiting
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "batches")
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        """Starts to run what waits."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Ends the work; what waits is not run."""
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker
        self._thread.shutdown()

    async def submit(self, items: Sequence[Item], timeout: float) -> list[Answer]:
        """Returns the answers to the items of a request.

        Args:
            items: the items.
            timeout: seconds until the answers must be there.

        Raises:
            Busy: too many items wait.
            TooLate: they are not there in time.
        """
        if len(self._waiting) + len(items) > self._max_waiting:
            raise Busy
        loop, now = asyncio.get_running_loop(), time.monotonic()
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        self._waiting.extend(map(_Waiting, items, answers, [now] * len(items)))
        self._arrived.set()
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.gather(*answers)
        except TimeoutError as error:
            raise TooLate from error
        finally:
            for answer in answers:
                answer.cancel()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather(self._waiting[0].since + self._max_wait)
            batch: list[_Waiting[Item, Answer]] = []
            while self._waiting and len(batch) < self._max_batch:
                first = self._waiting.popleft()
                if not first.answer.done():
                    batch.append(first)
            if batch:
                await self._answer(batch)

    async def _gather(self, until: float) -> None:
        """Waits for a full batch, at most until a time."""
        while len(self._waiting) < self._max_batch and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._arrived.wait()

    async def _answer(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        loop, start = asyncio.get_running_loop(), time.monotonic()
        try:
            answers = await loop.run_in_executor(
                self._thread, self._run, [one.item for one in batch]
            )
        except Exception as error:  # any fault of `run` goes to the requests of the batch
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        self._ran(len(batch), time.monotonic() - start)
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)
