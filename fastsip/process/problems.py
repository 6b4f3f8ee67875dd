"""Why a server cannot start, for the person who started it."""

from fastsip.errors import SipError


class CannotStart(SipError):
    """A cause outside the configuration file: a port taken, a path that cannot be written, a child that fails."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code
