"""Every error that this program raises on purpose.

MonitorError
 ├─ ConfigError       the config, with the file and the key's path
 ├─ RuleErrors        one or more faults in rule files, with file, line and clause
 ├─ TemplateFault     a template that does not render
 ├─ StoreError        the database: full, locked, corrupt, newer than this program
 │   └─ Busy          another process is at it; nothing is wrong
 └─ SourceError       a source; `retry` says whether asking again can help
     └─ AuthError     credentials: nothing more can be read
"""

from __future__ import annotations


class MonitorError(Exception):
    """Says where, what, and what to do; never a secret."""


class ConfigError(MonitorError):
    def __init__(self, problems: list[str], where: str = "") -> None:
        self.problems, self.where = problems, where
        super().__init__("\n".join(f"{where}: {p}" if where else p for p in problems))


class RuleErrors(MonitorError):
    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class TemplateFault(MonitorError):
    pass


class StoreError(MonitorError):
    pass


class Busy(StoreError):
    pass


class SourceError(MonitorError):
    def __init__(self, message: str, *, retry: bool = False, after: float | None = None) -> None:
        super().__init__(message)
        self.retry, self.after = retry, after
        self.passing = False  # asking again did not help now, and may later


class AuthError(SourceError):
    pass
