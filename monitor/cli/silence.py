"""access-monitor silence ...: mute what is known for some time; what is muted stays open and is counted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import app, config_of, moment, person
from monitor.cli.output import Format, FormatOption, clean, console, counted, show
from monitor.domain.matcher import Matcher
from monitor.domain.rule import Severity
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.domain.finding import Finding
    from monitor.domain.silence import Silence
    from monitor.line.parts import Parts

silence = typer.Typer(no_args_is_help=True, help="Mute what is known for some time; it stays open, and is counted.")
app.add_typer(silence, name="silence")

SeverityOption = Annotated[list[Severity] | None, typer.Option(help="Only this severity; repeatable, as all are.")]
RuleOption = Annotated[list[str] | None, typer.Option(help="Only this rule; * stands for anything, as in all below.")]
PackOption = Annotated[list[str] | None, typer.Option(help="Only rules in this folder.")]
SourceOption = Annotated[list[str] | None, typer.Option("--source", "-s", help="Only this source.")]
TagOption = Annotated[list[str] | None, typer.Option(help="Only rules with this tag.")]
OwnerOption = Annotated[list[str] | None, typer.Option(help="Only findings of this owner.")]
ControlOption = Annotated[list[str] | None, typer.Option(help="Only rules that serve this control, such as CC6.3.")]
SubjectOption = Annotated[list[str] | None, typer.Option(help="Only this subject: an id, an e-mail or a name.")]
FingerprintOption = Annotated[
    list[str] | None, typer.Option(help="Only this finding: its fingerprint, or the first 8 characters or more.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it; your login name if not given.")]
COLUMNS = ("id", "state", "mutes", "matcher", "by", "reason", "ends", "starts", "expired_by")


@silence.command("list")
def list_(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
) -> None:
    """Silences that are planned or in force: who made them, why, until when, and what they mute now."""
    from monitor.decide.silences import state
    from monitor.domain.silence import SilenceState

    parts = _parts(config_of(context))
    now, found = parts.clock.now(), _found(parts)
    kept = [s for s in _silences(parts) if everything or state(s, now) is not SilenceState.OVER]
    rows = [_row(s, parts, found, now) for s in kept]
    if fmt is Format.TABLE:
        rows = [row | {"matcher": str(s.matcher)} for row, s in zip(rows, kept, strict=True)]
    show(rows, fmt, COLUMNS, counted(len(rows), "silence"), "No silences: nothing is muted.")


@silence.command()
def add(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why.")],
    severity: SeverityOption = None,
    rule: RuleOption = None,
    pack: PackOption = None,
    source: SourceOption = None,
    tag: TagOption = None,
    owner: OwnerOption = None,
    control: ControlOption = None,
    subject: SubjectOption = None,
    fingerprint: FingerprintOption = None,
    lasts: Annotated[str | None, typer.Option("--for", help="How long: 2h, 3d.")] = None,
    until: Annotated[str | None, typer.Option(help="Its end, instead: a date or a time.")] = None,
    begins: Annotated[str | None, typer.Option("--from", help="Its beginning; now if not given.")] = None,
    by: ByOption = None,
) -> None:
    """Mute findings until an end. All that is named must fit a finding, for each name one of its values.

    They stay open and are counted; nothing is sent of them, and what is still open at the end is told then.
    """
    from monitor.domain.silence import Silence
    from monitor.line import quiet
    from monitor.store.engine import writing

    parts = _parts(config_of(context))
    matcher = _matcher(parts, severity, rule, pack, source, tag, owner, control, subject, fingerprint)
    author = person(by)
    starts, ends = _when(parts.clock.now(), lasts, until, begins)
    if not reason.strip() or not author.strip():
        raise ConfigError(["--reason and --by: say why, and who; whoever reads the list needs both"])
    wanted = Silence(matcher, author.strip(), reason.strip(), starts, ends)
    with writing(parts.engine) as connection:
        added, _ = quiet.silence(connection, parts, wanted, parts.clock.now())
    mutes = sum(1 for _ in _muted(parts, [added], _found(parts)))
    console().print(
        f"silence {added.id} until {added.ends:%Y-%m-%d %H:%M} UTC mutes {counted(mutes, 'open finding')}", markup=False
    )


@silence.command()
def preview(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="One that there is, instead of options.")] = None,
    fmt: FormatOption = Format.TABLE,
    severity: SeverityOption = None,
    rule: RuleOption = None,
    pack: PackOption = None,
    source: SourceOption = None,
    tag: TagOption = None,
    owner: OwnerOption = None,
    control: ControlOption = None,
    subject: SubjectOption = None,
    fingerprint: FingerprintOption = None,
) -> None:
    """What a silence would mute now: the open findings that all of these options fit. Changes nothing."""
    from monitor.decide.fits import fits
    from monitor.decide.present import finding as as_json

    parts = _parts(config_of(context))
    if number is not None:
        matcher = _one(parts, number).matcher
    else:
        matcher = _matcher(parts, severity, rule, pack, source, tag, owner, control, subject, fingerprint)
    rules = parts.rules.by_id
    found = [f for f in _found(parts) if fits(matcher, f, rules.get(f.rule))]
    rows = [_short(f) if fmt is Format.TABLE else as_json(f) for f in found]
    columns = ("severity", "title", "fingerprint", "owner", "silenced_until", "source")
    show(rows, fmt, columns, f"{counted(len(rows), 'finding')} would be muted", "It would mute nothing now.")


@silence.command()
def expire(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Its number, from `silence list`.")],
    by: ByOption = None,
) -> None:
    """End a silence now. What is still open is told, unless another silence mutes it."""
    from monitor.line import quiet
    from monitor.store.engine import writing

    parts = _parts(config_of(context))
    with writing(parts.engine) as connection:
        done = quiet.expire(connection, parts, number, person(by), parts.clock.now())
    if not done:
        _one(parts, number)
        raise ConfigError([f"expire: silence {number} is over already"])
    console().print(f"silence {number} is over", markup=False)


def _parts(config: Config) -> Parts:
    from monitor import wiring
    from monitor.cli.clock import SystemClock

    engine = wiring.database(config, must_exist=True)
    return wiring.parts(config, SystemClock(), stream=sys.stdout, engine=engine, unread=True)


def _found(parts: Parts) -> list[Finding]:
    from monitor.store.engine import reading
    from monitor.store.findings import unresolved

    with reading(parts.engine) as connection:
        return sorted(unresolved(connection), key=lambda f: (-f.severity.rank, f.opened_at, f.title))


def _silences(parts: Parts) -> list[Silence]:
    from monitor.store.engine import reading
    from monitor.store.silences import all_of_them

    with reading(parts.engine) as connection:
        return all_of_them(connection)


def _one(parts: Parts, number: int) -> Silence:
    found = [s for s in _silences(parts) if s.id == number]
    if not found:
        raise ConfigError([f"there is no silence {number}; see `access-monitor silence list --all`"])
    return found[0]


def _muted(parts: Parts, silences: Sequence[Silence], found: Iterable[Finding]) -> Iterator[Finding]:
    from monitor.decide.silences import muting

    rules = parts.rules.by_id
    return (f for f in found if muting(f, silences, rules) is not None)


def _row(each: Silence, parts: Parts, found: Sequence[Finding], now: datetime) -> dict[str, Any]:
    from monitor.decide.silences import state

    return {
        "id": each.id, "state": state(each, now).value, "mutes": sum(1 for _ in _muted(parts, [each], found)),
        "matcher": {name: list(values) for name, values in each.matcher.named.items()}, "by": each.by,
        "reason": each.reason, "starts": each.starts, "ends": each.ends, "receiver": each.receiver or None,
        "expired_by": each.expired_by,
    }  # fmt: skip


def _short(found: Finding) -> dict[str, Any]:
    return {
        "severity": found.severity.value, "title": found.title, "fingerprint": found.fingerprint[:12],
        "owner": found.owner, "silenced_until": found.silenced_until, "source": found.source,
    }  # fmt: skip


def _matcher(
    parts: Parts, severity: Sequence[Severity] | None, rule: list[str] | None, pack: list[str] | None,
    source: list[str] | None, tag: list[str] | None, owner: list[str] | None, control: list[str] | None,
    subject: list[str] | None, fingerprint: list[str] | None,
) -> Matcher:  # fmt: skip
    """Raises ConfigError for what names nothing: a misspelt name would mute nothing, and nobody would notice."""
    faults: list[str] = []
    matcher = Matcher(
        severity=tuple(s.value for s in severity or ()), rule=tuple(rule or ()), pack=tuple(pack or ()),
        source=tuple(source or ()), tag=tuple(tag or ()), owner=tuple(owner or ()), control=tuple(control or ()),
        subject=tuple(subject or ()),
        fingerprint=tuple(f for text in fingerprint or () for f in _fingerprints(parts, text, faults)),
    )  # fmt: skip
    for name, known in _known(parts).items():
        for pattern in getattr(matcher, name):
            if not any(fnmatchcase(value, pattern) for value in known()):
                faults.append(f"--{name}: there is no {name} like {clean(pattern)}")
    if not matcher.named and not faults:
        faults.append("say what to mute: --rule, --source, --subject or another; nothing named would be everything")
    if faults:
        raise ConfigError(faults)
    return matcher


def _known(parts: Parts) -> dict[str, Callable[[], set[str]]]:
    from monitor.decide.fits import controls, packs

    rules = parts.rules.rules
    return {
        "rule": lambda: {r.id for r in rules}, "pack": lambda: {p for r in rules for p in packs(r)},
        "source": lambda: set(parts.watched), "tag": lambda: {t for r in rules for t in r.tags},
        "control": lambda: {c for r in rules for c in controls(r)},
    }  # fmt: skip


def _fingerprints(parts: Parts, text: str, faults: list[str]) -> list[str]:
    if len(text) < 8:
        faults.append("--fingerprint: give at least its first 8 characters")
        return []
    found = [f.fingerprint for f in _found(parts) if f.fingerprint.startswith(text)]
    if len(found) != 1:
        said = "is the beginning of several; give more of it" if found else "is of no open finding"
        faults.append(f"--fingerprint: {clean(text)} {said}; see `access-monitor findings`")
    return found


def _when(now: datetime, lasts: str | None, until: str | None, begins: str | None) -> tuple[datetime, datetime]:
    if (lasts is None) == (until is None):
        raise ConfigError(["say until when: --for 2h, or --until 2026-03-01T12:00:00Z"])
    starts = moment(begins, "--from", end=False) or now
    ends = moment(until, "--until") if lasts is None else starts + _duration(lasts)
    assert ends is not None
    if ends <= max(starts, now):
        raise ConfigError([f"the end, {ends:%Y-%m-%d %H:%M} UTC, is not after the beginning and after now"])
    return starts, ends


def _duration(text: str) -> timedelta:
    from pydantic import TypeAdapter, ValidationError

    from monitor.config.values import Duration

    try:
        return TypeAdapter(Duration).validate_python(text)
    except ValidationError as error:
        raise ConfigError([f'--for: "{clean(text)}" is no duration; write 2h or 3d']) from error
