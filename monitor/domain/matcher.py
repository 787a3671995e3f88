"""Which findings are meant: by a route, by a silence."""

from __future__ import annotations

from typing import NamedTuple


class Matcher(NamedTuple):
    """All that is named must fit; of each name's values, one. An empty tuple fits everything."""

    severity: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()  # shell-style patterns, as in all that follow
    pack: tuple[str, ...] = ()  # folders of rule files
    source: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    control: tuple[str, ...] = ()  # "CC6.3", or with its framework: "soc2:CC6.3"
    subject: tuple[str, ...] = ()  # an id, an e-mail or a name
    fingerprint: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """What it names, and nothing else."""
        return {name: values for name, values in self._asdict().items() if values}

    def __str__(self) -> str:
        return "; ".join(f"{name} {' or '.join(values)}" for name, values in self.named.items())
