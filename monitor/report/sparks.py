"""A row of numbers as a line of text: the shape of a course at a glance."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def sparks(values: Sequence[int], width: int = WIDTH) -> str:
    """At most `width` characters; where several values share one, the highest counts. Ends with lowest and highest."""
    if not values:
        return ""
    size = -(-len(values) // width)
    peaks = [max(values[i : i + size]) for i in range(0, len(values), size)]
    top = max(peaks)
    line = "".join(_BARS[0 if top == 0 else (p * (len(_BARS) - 1) + top - 1) // top] for p in peaks)
    return f"{line}  {min(values)} to {max(values)}"
