"""Why a server cannot start, for the person who started it."""


class CannotStart(Exception):
    """A cause outside the configuration file: a port taken, a path that cannot be written, a child that fails."""
