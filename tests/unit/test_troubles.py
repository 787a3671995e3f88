"""What broke a poll, as a person reads it."""

from __future__ import annotations

from monitor.domain.reading import Outcome, ScopeEnded
from monitor.domain.snapshot import troubles
from monitor.sources.answer import in_words


def failed(name: str, reason: str | None) -> ScopeEnded:
    return ScopeEnded(name, Outcome.FAILED, reason)


def test_one_cause_is_told_once() -> None:
    """A wrong secret breaks every scope; those that were not tried for it belong to the same line."""
    scopes = [
        failed("roles", "no access token"),
        failed("users", "not read: no access token"),
        ScopeEnded("groups", Outcome.PARTIAL, "page 3: HTTP 500"),
        ScopeEnded("role_details", Outcome.COMPLETE),
        ScopeEnded("members", Outcome.UNREAD, "nobody asked for it"),
    ]
    assert troubles(scopes) == ["roles, users: no access token", "groups: page 3: HTTP 500"]


def test_many_scopes_are_counted() -> None:
    """A school may have hundreds of groups."""
    scopes = [failed(f"members/{n}", "HTTP 500") for n in range(6)]
    assert troubles(scopes) == ["members/0, members/1, members/2, members/3 and 2 more: HTTP 500"]


def test_a_scope_without_a_reason_says_how_it_ended() -> None:
    """Rather than nothing."""
    assert troubles([failed("users", None)]) == ["users: failed"]


def test_an_error_is_told_in_its_own_words() -> None:
    """In either shape that LearnWorlds writes; anything else stays as it is."""
    assert in_words(b'{"errors":[{"code":"400","message":"Denied."}],"success":false}') == b"Denied."
    assert in_words(b'{"error":"Too many requests"}') == b"Too many requests"
    for other in (b'{"success":false}', b"[1]", b'"x"', b"<html>", b"", b'{"errors":"x"}'):
        assert in_words(other) == other
