"""*deliver*: what waits in the outbox goes out, whether or not the next poll works.

Receivers do not wait for each other: each has a thread while it has something to send, a breaker, and a rate. One
process sends to a receiver at a time; what it left in the middle can only be what a crash left.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from monitor.decide import breaker, route
from monitor.decide.address import addressed, readdressed
from monitor.decide.backoff import wait
from monitor.decide.digest import digest
from monitor.decide.group import told_together
from monitor.decide.present import rfc3339
from monitor.domain.message import Channel, Health, Manner, Notification, Reason, Receipt, Sending
from monitor.domain.reading import Outcome
from monitor.errors import MonitorError, TemplateFault
from monitor.line.parts import Parts
from monitor.line.telling import tell_operator
from monitor.store import findings, outbox, queries, together
from monitor.store.locks import held

log = structlog.get_logger()
OURSELVES = "access-monitor"  # the source of what the monitor says of itself
SHORT_WAIT = timedelta(seconds=5)  # for the rate a sender waits this long itself; longer ones wait in the outbox


@dataclass(frozen=True)
class Pace:
    """How a pass goes: tests set chance, the daemon stops it."""

    chance: Callable[[], float] = random.random
    most: int = 1000  # attempts to a receiver
    go_on: Callable[[], bool] = lambda: True
    patience: float = 30.0  # seconds to wait for another process that sends to the same receiver


WHOLE = Pace()
PASSES = 3  # what one receiver refuses may be for another one to tell


def deliver_waiting(parts: Parts, pace: Pace = WHOLE) -> Counter[str]:
    """Sends what is due to every receiver, and what comes of that. Returns how the attempts ended."""
    ended: Counter[str] = Counter()
    for _ in range(PASSES):
        waiting = receivers_due(parts)
        if not waiting:
            break
        with ThreadPoolExecutor(max_workers=len(waiting), thread_name_prefix="send") as pool:
            for told in pool.map(lambda receiver: deliver_to(parts, receiver, pace), waiting):
                ended += told
    return ended


def receivers_due(parts: Parts) -> list[str]:
    """Receivers with something to send now; what was collected, and whose time has come, is written first."""
    _collected(parts, parts.clock.now())
    _template_faults(parts)
    now = parts.clock.now()  # after what was just written, so that it is due
    known = outbox.health(parts.engine)
    due = outbox.due_lanes(parts.engine, now)
    for missing in due.keys() - parts.channels.keys():
        log.error("no such receiver in the config; its messages wait", receiver=missing)
    return [r for r in due if r in parts.channels and _may_try(known.get(r, Health()), now + SHORT_WAIT)]


def _may_try(known: Health, now: datetime) -> bool:
    until = known.waits_until()
    return known.disabled_at is None and (until is None or until <= now)


def deliver_to(parts: Parts, receiver: str, pace: Pace = WHOLE) -> Counter[str]:
    """Sends what is due for one receiver, each lane in its order."""
    ended: Counter[str] = Counter()
    mark = hashlib.sha256(receiver.encode()).hexdigest()[:12]
    with held(parts.staging_folder / f".sending-{mark}", parts.clock, patience=pace.patience) as mine:
        if not mine:
            log.warning("another process sends to this receiver", receiver=receiver)
            return ended
        for lane in outbox.due_lanes(parts.engine, parts.clock.now()).get(receiver, ()):
            while ended.total() < pace.most and pace.go_on() and _its_turn(parts, receiver):
                sending = _deliver_next(parts, receiver, lane, pace.chance)
                if sending is None:
                    break
                ended[sending.value] += 1
    return ended


def _its_turn(parts: Parts, receiver: str) -> bool:
    """Whether the receiver may be tried now; a wait for its rate is short and is waited here."""
    known, now = outbox.health(parts.engine).get(receiver, Health()), parts.clock.now()
    if not _may_try(known, now + SHORT_WAIT):
        return False
    until = known.waits_until()
    if until is not None and until > now:
        parts.clock.sleep((until - now).total_seconds())
    return True


def _deliver_next(parts: Parts, receiver: str, lane: str, chance: Callable[[], float]) -> Sending | None:
    now = parts.clock.now()
    claimed = outbox.claim(parts.engine, lane, parts.owner, secrets.token_hex(8), now, alone=True)
    if claimed is None:
        return None
    parts.at("deliver: claimed")
    receipt = attempt(parts.channels[receiver], claimed.notification, uncertain=claimed.uncertain)
    parts.at("deliver: sent")
    then = parts.clock.now()
    due = then + wait(receipt, claimed.notification.attempts, chance())
    before = outbox.health(parts.engine).get(receiver, Health())
    known = breaker.after(before, receipt, parts.manners.get(receiver, Manner()).rate, then)
    also = list(because_of(parts, claimed.notification, receipt, before, known, then))
    outbox.settle(parts.engine, claimed, receipt, due, then, known, also)
    parts.at("deliver: settled")
    level = log.info if receipt.sending is Sending.SENT else log.warning
    level(
        "delivered" if receipt.sending is Sending.SENT else "not delivered", id=claimed.notification.id,
        receiver=lane, reason=claimed.notification.reason.value, outcome=receipt.sending.value,
        detail=receipt.detail,
    )  # fmt: skip
    return receipt.sending


def attempt(channel: Channel, notification: Notification, *, uncertain: bool) -> Receipt:
    """One try. After an uncertain one, the other side is asked first whether it has the message."""
    try:
        if uncertain:
            reference = channel.find(notification)
            if reference is not None:
                return Receipt(Sending.SENT, "found there after an uncertain attempt", reference)
        return channel.send(notification)
    except TemplateFault as error:
        return Receipt(Sending.LATER, str(error), ours=True)
    except MonitorError as error:  # the other side could not be asked
        return Receipt(Sending.UNCERTAIN, str(error))
    except Exception as error:  # one receiver must not stop the others; what happened is written down with the row
        log.exception("a channel failed", receiver=notification.receiver)
        return Receipt(Sending.UNCERTAIN, f"{type(error).__name__} in the channel")


# what an attempt gives rise to


def because_of(
    parts: Parts, note: Notification, receipt: Receipt, before: Health, known: Health, now: datetime
) -> Iterator[Notification]:
    """A refused message goes to the fallback, and somebody hears that it was refused, or that nothing goes through."""
    fallback = parts.manners.get(note.receiver, Manner()).fallback
    ours_alone = note.reason in (Reason.TEST, Reason.UPDATED)
    if receipt.sending is Sending.REJECTED and fallback is not None and not ours_alone:
        yield from _said(parts, [readdressed(note, fallback, refused_by=note.lane)])
    others = [fallback] if fallback is not None else _others(parts, note.receiver)
    yield from _said(parts, list(_trouble(note, receipt, before, known, others, now)))


def _others(parts: Parts, receiver: str) -> list[str]:
    """Who hears what the monitor says of itself, but for the one in question."""
    return [r for r in route.everyone_last(parts.routes) if r != receiver]


def _trouble(
    note: Notification, receipt: Receipt, before: Health, known: Health, others: Sequence[str], now: datetime
) -> Iterator[Notification]:
    of_refusal = note.reason is Reason.OPERATIONS and note.key.startswith("refused:")
    receiver, day, why = note.receiver, f"{now:%Y-%m-%d}", [receipt.detail] if receipt.detail else []
    title = str(note.content.get("title", ""))
    if receipt.sending is Sending.REJECTED and not of_refusal:
        yield from route.to_receivers(
            others, f"refused:{note.lane}:{day}", f"{note.lane} refuses messages",
            f"Run `access-monitor outbox`. Mend what it names, then `access-monitor outbox retry --dead --receiver "
            f"{receiver}`.", [f"{note.reason.value}: {title}", *why], OURSELVES, now,
        )  # fmt: skip
    elif receipt.sending is Sending.DISABLED:
        yield from route.to_receivers(
            others, f"disabled:{receiver}:{rfc3339(now)}", f"{receiver} asked for nothing more, and is switched off",
            f"Its messages wait. When it takes them again: `access-monitor outbox enable {receiver}`.", why, OURSELVES,
            now,
        )  # fmt: skip
    elif breaker.opened(before, known):
        yield from route.to_receivers(
            others, f"unreachable:{receiver}:{rfc3339(known.open_until)}", f"{receiver} cannot be reached",
            "Its messages wait and are tried again by themselves. `access-monitor outbox receivers` shows why.", why,
            OURSELVES, now,
        )  # fmt: skip


def _said(parts: Parts, notes: Sequence[Notification]) -> list[Notification]:
    return [note for note, _ in addressed([(n, None) for n in notes], parts.manners, parts.zone)]


def _collected(parts: Parts, now: datetime) -> None:
    """Digests and groups: what waits together is told by one message."""

    def grouped(connection: Connection, collected: Sequence[Notification]) -> Notification:
        told = together.members(connection, str(group))
        found = findings.of_ids(connection, list(told))
        return told_together(collected, found, {i for i, once in told.items() if once}, parts.rules.by_id, now)

    for lane, group in outbox.due_together(parts.engine, now):
        make = grouped if group else lambda _, collected: digest(collected, now)
        outbox.gather(parts.engine, lane, group, make)


def _template_faults(parts: Parts) -> None:
    """A template that fails is replaced by the shipped one, and somebody hears of it once for each text of it."""
    for mark, fault in parts.template_faults():
        tell_operator(
            parts, f"template:{mark}", "A template does not work; the shipped one is used in its place",
            "Mend it, try it with `access-monitor templates check`, and reload.", [fault],
        )  # fmt: skip


# by hand, and on a schedule


def marked_messages(
    parts: Parts, reason: Reason, mark: str, receivers: Iterable[str], now: datetime
) -> list[Notification]:
    """A marked message for each receiver, through the outbox as a real one would go."""
    word = "Drill" if reason is Reason.DRILL else "Test message"
    notes = [route.notification(r, reason, mark, f"{word} to {r}", OURSELVES, now, {}) for r in receivers]
    said = _said(parts, notes)
    outbox.say(parts.engine, said)
    return said


def drill_if_due(parts: Parts) -> None:
    """The drill of the schedule, once, however many processes there are and however often they start."""
    if parts.drill is None:
        return
    now = parts.clock.now()
    when = parts.drill.last(now, parts.zone)
    if now - when < timedelta(days=1) and not outbox.known_key(parts.engine, f"drill:{rfc3339(when)}:"):
        marked_messages(parts, Reason.DRILL, f"drill:{rfc3339(when)}", parts.channels, now)


def beat(parts: Parts, source: str, *, failed: str | None = None) -> None:
    """Tells the dead-man's switch: well when every source's last poll was whole, failed when this one's was not.

    When only another source is broken nothing is told: what was told of that stays, and silence trips the switch.
    """
    outcomes = {name: queries.outcome_now(parts.engine, name) for name in parts.watched}
    if failed is None and outcomes.get(source) == Outcome.COMPLETE:
        if any(outcome != Outcome.COMPLETE for outcome in outcomes.values()):
            return
        problem = parts.beat(None)
    else:
        problem = parts.beat(f"{source}: {failed or outcomes.get(source)}")
    if problem is not None:
        log.warning("the heartbeat was not taken", error=problem)
