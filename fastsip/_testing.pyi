"""For the tests and benchmarks alone: Python faces of compiled layers that have none. Nothing of fastsip imports it."""

class TestWheel:
    """A wheel with `count` timers, numbered, and no clock: every method is told what time it is, in milliseconds."""

    count: int
    def __init__(self, count: int, now: int = 0) -> None: ...
    def arm(self, number: int, now: int, delay: int) -> None: ...
    def cancel(self, number: int) -> None: ...
    def is_armed(self, number: int) -> bool: ...
    def expire(self, now: int) -> int | None:
        """The next timer due at `now`, one call of wheel_expire."""
    def sweep(self, now: int) -> list[int]:
        """Every timer due at `now`, until wheel_expire says there is none."""
    def wait(self, now: int, limit: int) -> int: ...
    @property
    def armed(self) -> int: ...
    def measure(self, spread: int) -> dict[str, int]:
        """Arm all over `spread` ms and turn the wheel through them: nanoseconds a timer, the longest turn, how many
        fired and how many of them late."""
