"""Wrong usage of `fastsip load`, whoever notices it."""


class Wrong(Exception):
    """Wrong usage: the text says which option and what is allowed."""
