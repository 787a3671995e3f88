"""Fixtures for every test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# How fast examples are made says how busy the machine is, and nothing about the program.
settings.register_profile("here", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("here")


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """A command that was run in a test must not leave a logger behind that writes to that test's closed stderr."""
    handlers = logging.getLogger().handlers[:]
    # The default writes an exception with all that its frames hold, which takes seconds each time.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
