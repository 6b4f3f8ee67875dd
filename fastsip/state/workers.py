"""Which facts of which worker were applied: each one once, in order, whatever is sent again."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from fastsip.state.facts import Batch, Hello, Outcome

WORKERS = 256
"""How many (worker, incarnation) are remembered; the one not heard of for longest is forgotten."""
OUTCOMES = 4096
"""For how many of its last facts answers are kept, for each of them."""


class Progress:
    """How far the facts of one worker, in one incarnation, are applied."""

    __slots__ = ("_kept", "applied")

    def __init__(self, applied: int) -> None:
        self.applied = applied
        self._kept: deque[tuple[int, list[Outcome | None]]] = deque()

    def keep(self, first: int, answers: list[Outcome | None]) -> None:
        """Remember the answers to facts from number `first` on, None where there is none: their acknowledgement may be
        lost while the facts stay applied."""
        self._kept.append((first, answers))
        oldest = first + len(answers) - OUTCOMES
        while self._kept[0][0] + len(self._kept[0][1]) <= oldest:
            self._kept.popleft()

    def outcomes(self, first: int, end: int) -> Iterator[Outcome]:
        """The answers remembered to the REGISTERs numbered `first` to before `end`, in that order."""
        for number, answers in self._kept:
            for answer in answers[max(0, first - number) : max(0, end - number)]:
                if answer is not None:
                    yield answer


class Workers:
    """Progress of every worker heard of."""

    def __init__(self) -> None:
        self._progress: OrderedDict[tuple[int, int], Progress] = OrderedDict()
        self.gaps = 0

    def hello(self, hello: Hello) -> Progress:
        """The progress of a worker that says hello; it starts where the worker says, or at the beginning."""
        return self._find(hello.worker, hello.incarnation, hello.oldest, 1)

    def begin(self, batch: Batch) -> tuple[Progress, int]:
        """The progress of the batch's worker, and how many facts at the front of the batch are applied already; -1
        when the batch must wait for facts before it.

        Those were lost on the way, by a connection that broke or a state process that died with them, and come again.
        To apply this batch first would make them look old. A worker that does not say what it keeps cannot be waited
        for."""
        progress = self._find(batch.worker, batch.incarnation, batch.oldest, batch.first)
        if batch.first > progress.applied + 1:
            self.gaps += 1
            if batch.oldest:
                return progress, -1
            progress.applied = batch.first - 1
        return progress, min(progress.applied + 1 - batch.first, batch.count)

    def _find(self, worker: int, incarnation: int, oldest: int, otherwise: int) -> Progress:
        key = (worker, incarnation)
        progress = self._progress.get(key)
        if progress is None:
            progress = self._progress[key] = Progress((oldest or otherwise) - 1)
            if len(self._progress) > WORKERS:
                self._progress.popitem(last=False)
        else:
            self._progress.move_to_end(key)
            if oldest - 1 > progress.applied:
                progress.applied = oldest - 1
        return progress
