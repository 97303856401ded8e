"""Numbers in words."""

from __future__ import annotations


def count(n: int, name: str, plural: str | None = None) -> str:
    """Return how many there are: "1 trial", "2 trials"."""
    return f"{n} {name if n == 1 else plural or name + 's'}"
