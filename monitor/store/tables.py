"""The tables. A version row per object and period: `valid_from` and `valid_to` name snapshots.

The state as of snapshot S is: valid_from <= S and (valid_to is null or valid_to > S).
Times are whole microseconds since 1970, in UTC: exact, small, and the same on every database.
Tables that are written in bulk have no foreign keys: they would cost a look-up a row, and one transaction writes
them whole. Rows serve small reads and writes; bulk writing goes through staging.py and record.py, with tuples.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Dialect, Index, LargeBinary, MetaData, Text, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import JSON, Field, SQLModel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_json = msgspec.json.Encoder(order="sorted").encode

SQLModel.metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def json_text(value: Any) -> str:
    return _json(value).decode()


def micros(moment: datetime | None) -> int | None:
    """An aware time as whole microseconds. Raises TypeError for a naive one."""
    return None if moment is None else (moment - EPOCH) // MICROSECOND


def moment(micros: int | None) -> datetime | None:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


class Moment(TypeDecorator[datetime]):
    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        return micros(value)

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        return moment(value)


def at(*, null: bool = False) -> Any:
    return Field(sa_column=Column(Moment, nullable=null), default=None if null else ...)


def json_column(*, null: bool = True) -> Any:
    return Field(sa_column=Column(JSON(none_as_null=True), nullable=null), default=None)


CURRENT = text("valid_to IS NULL")
ENDED = text("valid_to IS NOT NULL")
WAITING = text("status IN ('pending', 'sending', 'uncertain')")
COLLECTED = text("status = 'collected'")
GIVEN_UP = text("status = 'dead'")
GROUPED = text("group_id IS NOT NULL")


def where(condition: Any) -> dict[str, Any]:
    return {"sqlite_where": condition, "postgresql_where": condition}


class SourceRow(SQLModel, table=True):
    __tablename__ = "sources"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    kind: str
    watched_since: datetime | None = at(null=True)  # first complete snapshot
    scopes_read: dict[str, int] | None = json_column()  # by family of scopes: when the last poll that read it began
    reader: str = ""  # digest of what decides how records are read; when it moves, all are read anew


class SnapshotRow(SQLModel, table=True):
    __tablename__ = "snapshots"
    __table_args__ = (Index("ix_snapshots_source", "source_id", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    source_id: int = Field(foreign_key="sources.id")
    lane: str = "full"
    outcome: str
    started_at: datetime = at()
    finished_at: datetime = at()
    accounts: int = 0
    roles: int = 0
    groups: int = 0
    grants: int = 0
    requests: int = 0
    pages: int = 0
    changes: int = 0
    digest: str = ""
    rules_digest: str = ""
    version: str = ""
    baseline: bool = False
    error: str | None = None
    proof: dict[str, Any] | None = json_column()


class QuarantineRow(SQLModel, table=True):
    """What became of a quarantined snapshot. While it waits, its file lies beside the database."""

    __tablename__ = "quarantine"
    __table_args__ = (Index("ix_quarantine_waiting", "source_id", **where(text("status = 'waiting'"))),)
    snapshot_id: int = Field(primary_key=True, foreign_key="snapshots.id")
    source_id: int = Field(foreign_key="sources.id")
    status: str
    why: str
    decided_at: datetime | None = at(null=True)
    decided_by: str | None = None
    applied_as: int | None = Field(default=None, foreign_key="snapshots.id")


class RawPagesRow(SQLModel, table=True):
    """The answers of a snapshot as they came lie in a file beside the database until they are swept."""

    __tablename__ = "raw_pages"
    __table_args__ = (Index("ix_raw_pages_kept", "keep_until", **where(text("swept_at IS NULL"))),)
    snapshot_id: int = Field(primary_key=True, foreign_key="snapshots.id")
    source_id: int = Field(foreign_key="sources.id")
    pages: int
    bytes: int
    keep_until: datetime = at()
    swept_at: datetime | None = at(null=True)


class RuleSetRow(SQLModel, table=True):
    """The texts of a rule set that a snapshot was judged by."""

    __tablename__ = "rule_sets"
    digest: str = Field(primary_key=True)
    files: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # compressed JSON: text by file name
    kept_at: datetime = at()


class ScopeRow(SQLModel, table=True):
    """The outcome of a part of the snapshots from valid_from on, until it differs."""

    __tablename__ = "scopes"
    __table_args__ = (
        Index("ix_scopes_current", "source_id", "name", unique=True, **where(CURRENT)),
        Index("ix_scopes_ended", "source_id", "name", **where(ENDED)),
    )
    id: int | None = Field(default=None, primary_key=True)
    source_id: int = Field(foreign_key="sources.id")
    name: str
    outcome: str
    reason: str | None = None
    cause: str | None = None
    digest: str | None = None
    valid_from: int = Field(foreign_key="snapshots.id")
    valid_to: int | None = Field(default=None, foreign_key="snapshots.id")


class AccountRow(SQLModel, table=True):
    __tablename__ = "accounts"
    __table_args__ = (
        Index("ix_accounts_current", "source_id", "account_id", unique=True, **where(CURRENT)),
        Index("ix_accounts_ended", "source_id", "account_id", **where(ENDED)),
        Index("ix_accounts_ended_email", "source_id", "email_key", **where(ENDED)),
        Index(
            "ix_accounts_lane",
            "source_id",
            "account_id",
            **where(text("valid_to IS NULL AND (privileged OR status = 'suspended')")),
        ),
        Index("ix_accounts_privileged", "source_id", "valid_from", "valid_to", **where(text("privileged"))),
    )
    pk: int | None = Field(default=None, primary_key=True)
    source_id: int
    account_id: str
    email: str | None = None
    email_key: str | None = None  # case-folded
    username: str | None = None
    name: str | None = None
    status: str | None = None
    level: str | None = None
    role: str | None = None
    role_id: str | None = None
    is_admin: bool | None = None
    is_instructor: bool | None = None
    is_reporter: bool | None = None
    is_affiliate: bool | None = None
    privileged: bool | None = None
    tags: list[str] | None = json_column()
    fields: dict[str, str] | None = json_column()
    created: datetime | None = at(null=True)
    first_seen: datetime = at()
    status_since: datetime = at()
    level_since: datetime = at()
    role_changed: datetime = at()
    privileged_since: datetime = at()
    reactivated: datetime = at()
    past_levels: list[str] = json_column(null=False)
    past_roles: list[str] = json_column(null=False)
    past_emails: list[str] = json_column(null=False)
    earlier_ids: list[str] = json_column(null=False)
    access_digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    valid_from: int
    valid_to: int | None = None


class ActivityRow(SQLModel, table=True):
    """The latest of what moves without access changing: one row an account, rewritten in place."""

    __tablename__ = "activity"
    __table_args__ = {"sqlite_with_rowid": False}  # SQLAlchemy reads a plain dict
    source_id: int = Field(primary_key=True)
    account_id: str = Field(primary_key=True)
    last_login: datetime | None = at(null=True)
    never_signed_in: bool | None = None
    nps_score: int | None = None
    utms: str | None = None
    nps_comment: str | None = None
    last_active: datetime | None = at(null=True)  # by the event logs
    raw_digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    snapshot_id: int


class JudgedRow(SQLModel, table=True):
    """By source, when everything stood judged, and by what: until that differs, only what changed is judged again."""

    __tablename__ = "judged"
    source_id: int = Field(primary_key=True, foreign_key="sources.id")
    context: str
    judged_at: datetime = at()
    snapshot_id: int
    idle: str | None = Field(default=None, sa_column=Column(Text))  # JSON: by group, since when most of it are idle


class UndecidedRow(SQLModel, table=True):
    """The accounts of which, or of whose grants, something is unknown; and those to judge again whatever changes."""

    __tablename__ = "undecided"
    __table_args__ = {"sqlite_with_rowid": False}  # SQLAlchemy reads a plain dict
    source_id: int = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True)
    rules: str = Field(sa_column=Column(Text, nullable=False))  # JSON: how many unknown verdicts, by rule
    again: bool  # a rule failed, or a finding that no longer held could not be closed


class RoleRow(SQLModel, table=True):
    __tablename__ = "roles"
    __table_args__ = (Index("ix_roles_current", "source_id", "role_id", unique=True, **where(CURRENT)),)
    pk: int | None = Field(default=None, primary_key=True)
    source_id: int
    role_id: str
    title: str | None = None
    description: str | None = None
    access_level: str | None = None
    custom: bool | None = None
    first_seen: datetime = at()
    changed: datetime = at()
    past_access_levels: list[str] = json_column(null=False)
    description_changed: datetime = at()
    valid_from: int
    valid_to: int | None = None


class GroupRow(SQLModel, table=True):
    __tablename__ = "groups"
    __table_args__ = (Index("ix_groups_current", "source_id", "group_id", unique=True, **where(CURRENT)),)
    pk: int | None = Field(default=None, primary_key=True)
    source_id: int
    group_id: str
    title: str | None = None
    description: str | None = None
    max_members: int | None = None
    courses: list[str] | None = json_column()
    tags: list[str] | None = json_column()
    enrolls: bool | None = None
    created: datetime | None = at(null=True)
    first_seen: datetime = at()
    valid_from: int
    valid_to: int | None = None


class SeatRow(SQLModel, table=True):
    """A seat offering."""

    __tablename__ = "seats"
    __table_args__ = (Index("ix_seats_current", "source_id", "seat_id", unique=True, **where(CURRENT)),)
    pk: int | None = Field(default=None, primary_key=True)
    source_id: int
    seat_id: str
    title: str | None = None
    description: str | None = None
    purchased: int | None = None
    available: int | None = None
    max_members: int | None = None
    courses: list[str] | None = json_column()
    tags: list[str] | None = json_column()
    created: datetime | None = at(null=True)
    first_seen: datetime = at()
    valid_from: int
    valid_to: int | None = None


class GrantRow(SQLModel, table=True):
    __tablename__ = "grants"
    __table_args__ = (
        Index("ix_grants_current", "source_id", "account_id", "kind", "entitlement_id", unique=True, **where(CURRENT)),
        Index("ix_grants_holders", "source_id", "kind", "entitlement_id", "account_id", **where(CURRENT)),
        Index("ix_grants_ended", "source_id", "account_id", **where(ENDED)),
    )
    pk: int | None = Field(default=None, primary_key=True)
    source_id: int
    account_id: str
    kind: str
    entitlement_id: str
    since: datetime = at()
    valid_from: int
    valid_to: int | None = None


class ChangeRow(SQLModel, table=True):
    __tablename__ = "changes"
    __table_args__ = (
        Index("ix_changes_snapshot", "snapshot_id"),
        Index("ix_changes_subject", "source_id", "subject_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    snapshot_id: int
    source_id: int
    kind: str
    subject_kind: str
    subject_id: str
    subject_email: str | None = None
    subject_name: str | None = None
    field: str | None = None
    before: str | None = Field(default=None, sa_column=Column(Text))  # JSON
    after: str | None = Field(default=None, sa_column=Column(Text))


class FindingRow(SQLModel, table=True):
    __tablename__ = "findings"
    __table_args__ = (
        Index("ix_findings_unresolved", "fingerprint", unique=True, **where(text("status <> 'resolved'"))),
        Index("ix_findings_fingerprint", "fingerprint", "id"),
        Index("ix_findings_source", "source_id", "status"),
        Index("ix_findings_waking", "wakes_at", **where(text("status <> 'resolved'"))),
        Index("ix_findings_subject", "source_id", "subject_kind", "subject_id"),
        Index("ix_findings_calm", "calm_at", **where(text("calm_at IS NOT NULL"))),
    )
    id: int | None = Field(default=None, primary_key=True)
    fingerprint: str
    source_id: int = Field(foreign_key="sources.id")
    rule: str
    title: str
    severity: str
    status: str
    verdict: str
    subject_kind: str
    subject_id: str
    subject_email: str | None = None
    subject_name: str | None = None
    owner: str
    tags: list[str] = json_column(null=False)
    opened_at: datetime = at()
    due_at: datetime | None = at(null=True)
    closes_at: datetime | None = at(null=True)
    acknowledged_at: datetime | None = at(null=True)
    acknowledged_by: str | None = None
    resolved_at: datetime | None = at(null=True)
    resolution: str | None = None
    resolution_detail: str | None = None
    exempt_until: datetime | None = at(null=True)
    silenced_until: datetime | None = at(null=True)
    exemption: dict[str, Any] | None = json_column()
    assigned_to: str | None = None
    evidence: list[dict[str, Any]] = json_column(null=False)
    rule_digest: str
    snapshot_id: int = Field(foreign_key="snapshots.id")
    baseline: bool = False
    draft: bool = False
    asked_at: datetime | None = at(null=True)
    told_at: datetime | None = at(null=True)
    calm_at: datetime | None = at(null=True)  # when an opening or end that flapped is told, if nothing moves till then
    wakes_at: datetime | None = at(null=True)  # when time alone brings the next thing; null: nobody has looked since


class FindingEventRow(SQLModel, table=True):
    __tablename__ = "finding_events"
    __table_args__ = (Index("ix_finding_events_finding", "finding_id", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    finding_id: int = Field(foreign_key="findings.id")
    time: datetime = at()
    kind: str
    by: str | None = None
    snapshot_id: int | None = Field(default=None, foreign_key="snapshots.id")
    detail: dict[str, Any] | None = json_column()


class OutboxRow(SQLModel, table=True):
    """A notification until it is sent, and after. status: pending, sending, uncertain, sent, dead, collected."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_waiting", "lane", "position", **where(WAITING)),
        Index("ix_outbox_collected", "lane", "due_at", **where(COLLECTED)),
        Index("ix_outbox_finding", "finding_id", "lane", "position"),
        Index("ix_outbox_digest", "digest_id"),
        Index("ix_outbox_group", "lane", "group_key", "position", **where(GROUPED)),
        Index("ix_outbox_group_id", "group_id", **where(GROUPED)),
        Index("ix_outbox_given_up", "created_at", **where(GIVEN_UP)),
    )
    id: str = Field(primary_key=True)
    position: int = Field(unique=True)  # the order of saying, per lane
    receiver: str
    lane: str  # the receiver, and behind a blank the address when it has several
    reason: str
    key: str = Field(unique=True)
    finding_id: int | None = Field(default=None, foreign_key="findings.id")
    snapshot_id: int | None = Field(default=None, foreign_key="snapshots.id")
    content: dict[str, Any] = json_column(null=False)
    status: str = "pending"
    attempts: int = 0
    created_at: datetime = at()
    due_at: datetime = at()
    first_attempt_at: datetime | None = at(null=True)
    sent_at: datetime | None = at(null=True)
    lease_owner: str | None = None
    lease_until: datetime | None = at(null=True)
    lease_token: str | None = None
    error: str | None = None
    reference: str | None = None
    digest_id: str | None = None  # the message that tells this one
    group_id: str | None = None  # what is told together: findings, and the messages that tell of them
    group_key: str | None = None  # what they have in common, as JSON


class ReceiverRow(SQLModel, table=True):
    """What is known of a receiver from how attempts ended: the breaker, the rate, whether it is switched off."""

    __tablename__ = "receivers"
    name: str = Field(primary_key=True)
    failures: int = 0
    open_until: datetime | None = at(null=True)
    not_before: datetime | None = at(null=True)
    disabled_at: datetime | None = at(null=True)
    error: str | None = None
    sent_at: datetime | None = at(null=True)


class ExemptionRow(SQLModel, table=True):
    """Leave from one rule for one subject, given by a button. status: asked, approved, refused, withdrawn."""

    __tablename__ = "exemptions"
    __table_args__ = (Index("ix_exemptions_source", "source_id", "status"),)
    id: int | None = Field(default=None, primary_key=True)
    status: str
    source_id: int = Field(foreign_key="sources.id")
    finding_id: int = Field(foreign_key="findings.id")
    fingerprint: str
    rule: str
    subject_kind: str
    subject_id: str
    subject_email: str | None = None
    subject_name: str | None = None
    reason: str
    ticket: str | None = None
    expires: str  # a date: its last day
    asked_by: str
    asked_by_id: str
    asked_at: datetime = at()
    approved_by: str | None = None
    approved_at: datetime | None = at(null=True)
    ended_by: str | None = None
    ended_at: datetime | None = at(null=True)


class ClickRow(SQLModel, table=True):
    """An act that came in, by each key that it may come again with: it acts once."""

    __tablename__ = "clicks"
    key: str = Field(primary_key=True)
    came_at: datetime = at()


class SilenceRow(SQLModel, table=True):
    """A muting by somebody, until an end. state: planned, active, over."""

    __tablename__ = "silences"
    __table_args__ = (Index("ix_silences_standing", "state", **where(text("state <> 'over'"))),)
    id: int | None = Field(default=None, primary_key=True)
    matcher: dict[str, Any] = json_column(null=False)
    by: str
    reason: str
    receiver: str = ""
    made_at: datetime = at()
    starts_at: datetime = at()
    ends_at: datetime = at()
    warn_at: datetime = at()
    warned_at: datetime | None = at(null=True)
    state: str
    expired_by: str | None = None


class DeliveryRow(SQLModel, table=True):
    """One attempt to send a notification."""

    __tablename__ = "deliveries"
    __table_args__ = (Index("ix_deliveries_outbox", "outbox_id", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    outbox_id: str = Field(foreign_key="outbox.id")
    attempt: int
    started_at: datetime = at()
    finished_at: datetime | None = at(null=True)
    outcome: str | None = None
    detail: str | None = None


class LedgerRow(SQLModel, table=True):
    """Append-only: the database refuses UPDATE and DELETE."""

    __tablename__ = "ledger"
    sequence: int | None = Field(default=None, primary_key=True)
    time: datetime = at()
    kind: str
    body: str = Field(sa_column=Column(Text, nullable=False))  # canonical JSON
    previous: str
    hash: str
