from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from wire import T1

from fastsip._testing import ManualLayer


@pytest.fixture
def new_layer() -> Iterator[Callable[..., ManualLayer]]:
    """Makes layers; after the test each of them must run empty by its own timers."""
    made: list[ManualLayer] = []

    def new(**settings: int) -> ManualLayer:
        made.append(ManualLayer(**settings))
        return made[-1]

    yield new
    for layer in made:
        layer.fail_sends, layer.on_event = False, None
        layer.advance(400 * T1)
        layer.take()
        assert {
            "live": layer.live,
            "waiting": layer.waiting,
            "armed": layer.armed,
            "buffers": layer.buffers,
        } == dict.fromkeys(("live", "waiting", "armed", "buffers"), 0)
        assert layer.close() == 0


@pytest.fixture
def layer(new_layer: Callable[..., ManualLayer]) -> ManualLayer:
    return new_layer()
