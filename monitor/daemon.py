"""The scheduler: survives a failed cycle, stops cleanly, reloads all or nothing.

APScheduler only ticks: when a source is due follows from its last snapshot in the database, so that a restart neither
skips a poll nor repeats one.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from types import FrameType

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from monitor.acting import clicked
from monitor.cycle import record_failure, run_cycle
from monitor.dispatch import Pace, beat, deliver_to, drill_if_due, receivers_due
from monitor.domain.act import Click
from monitor.domain.reading import Lane
from monitor.errors import Busy, MonitorError, RuleErrors
from monitor.line import timely
from monitor.line.parts import Parts, Watched
from monitor.line.telling import tell_operator
from monitor.store import queries

log = structlog.get_logger()
TICK, OUTBOX_TICK = 1.0, 2.0  # seconds
FINISHING = 20.0  # seconds after SIGTERM in which what waits is still sent
SENDERS = 32  # receivers that are sent to at a time: each may be as slow as its time-outs
JITTER = 0.1  # share of the interval by which sources are spread, so that many do not start at once


def notify(message: str) -> None:
    """Tells systemd (Type=notify); without one, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sock.sendall(message.encode())


def due(every: float, name: str, last: datetime | None, now: datetime) -> bool:
    """Whether a source is to be polled. Intervals are longer by up to a tenth, each source by its own share, so that
    many sources drift apart; the share follows from the name, and so is the same after a restart.
    """
    if last is None:
        return True
    share = zlib.crc32(name.encode()) / 2**32
    return now >= last + timedelta(seconds=every * (1 + JITTER * share))


class Edits:
    """Notices that rule files were edited, once nobody is writing them any more: two looks in a row agree."""

    def __init__(self, stamp: Callable[[], str]) -> None:
        self._stamp = stamp
        self._taken = self._seen = self._look()

    def settled(self) -> bool:
        found = self._look()
        if found == self._seen and found != self._taken:
            self._taken = found
            return True
        self._seen = found
        return False

    def _look(self) -> str:
        try:
            return self._stamp()
        except (MonitorError, OSError):
            return ""  # the folder is gone: reloading says so


def tell_of_faulty_rules(parts: Parts, error: RuleErrors) -> None:
    """In the channel, with file and line; once for a text of the faults."""
    mark = hashlib.sha256(str(error).encode()).hexdigest()[:16]
    count = len(error.problems)
    try:
        tell_operator(
            parts, f"rules-faulty:{mark}",
            f"The rules were not taken over: {count} fault{'' if count == 1 else 's'}",
            "Mend the file and save it; `access-monitor rules check` names every fault. Until then the set "
            f"{parts.rules.digest[:16]} stays in force, and nothing closes because of the edit.",
            error.problems[:20],
        )  # fmt: skip
    except MonitorError as fault:
        log.error("nobody could be told of the faulty rules", error=str(fault))


class Daemon:
    def __init__(self, parts: Parts, rebuild: Callable[[], Parts], rules_stamp: Callable[[], str]) -> None:
        """`rebuild` makes all parts anew from the config; `rules_stamp` moves when a rule file does."""
        self._parts, self._rebuild = parts, rebuild
        self._edits = Edits(rules_stamp)
        self._stop = threading.Event()
        self._reload = threading.Event()
        self._running: dict[tuple[str, Lane], Future[None]] = {}
        self._moved: dict[str, datetime | None] = {}  # by authority: when it last changed, until it is polled again
        self._sending: dict[str, Future[None]] = {}
        self._timed: Parts | None = None  # with which every finding was looked at for what time brings
        self._starting = threading.Lock()
        self._stopped_at = 0.0
        self._began: dict[tuple[str, Lane], datetime] = {}  # when the poll that is running, or ran last, began
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="poll")
        self._senders = ThreadPoolExecutor(max_workers=SENDERS, thread_name_prefix="send")

    def run(self) -> None:
        """Until SIGTERM or SIGINT. The step in hand is finished first; a second signal ends it at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        scheduler = BackgroundScheduler(timezone="UTC")
        always = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        scheduler.add_job(self.tick, "interval", seconds=TICK, **always)
        scheduler.add_job(self.send, "interval", seconds=OUTBOX_TICK, **always)
        inboxes = self._parts.inboxes  # these stay over a reload; who may act is read when the daemon starts
        for inbox in inboxes:
            inbox.start(self._act)
        scheduler.start()
        notify("READY=1")
        log.info("started", sources=sorted(self._parts.watched), receivers=sorted(self._parts.channels))
        while not self._stop.wait(timeout=5.0):
            notify("WATCHDOG=1")
        notify("STOPPING=1")
        log.info("stopping: finishing the step in hand")
        for inbox in inboxes:
            inbox.stop()
        scheduler.shutdown(wait=True)
        self._pool.shutdown(wait=True)
        self.send()  # what the last polls found
        self._senders.shutdown(wait=True)
        log.info("stopped")

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._stopped_at = self._parts.clock.monotonic()
        self._stop.set()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload.set()

    def tick(self) -> None:
        """Whatever goes wrong, the next one tries again."""
        try:
            self._tick()
        except MonitorError as error:
            log.error("no poll could be begun", error=str(error))
        except Exception:  # the daemon goes on; the log keeps what happened
            log.exception("no poll could be begun")

    def _tick(self) -> None:
        """Reloads if asked to, then starts a poll of every source that is due and not being polled."""
        if self._reload.is_set() or self._edits.settled():
            self._reload.clear()
            self.reload()
        now = self._parts.clock.now()
        for name, watched in self._parts.watched.items():  # authorities come first: who works here, then who gets in
            for lane, every in ((Lane.FULL, watched.every), (Lane.FAST, watched.fast_every)):
                if every is not None and not self._stop.is_set() and self._is_due(watched, lane, every, now):
                    self._began[name, lane] = now
                    self._running[name, lane] = self._pool.submit(self._poll, name, lane)
            if self._hangs(name, watched.blind_seconds, now):
                self._record_failure(name, "a poll was begun and does not end")

    def _hangs(self, name: str, patience: float, now: datetime) -> bool:
        """Whether a full poll is at it for so many seconds, and nothing was recorded in all that time."""
        if not self._is_polled(name, Lane.FULL):
            return False
        began, last = self._began[name, Lane.FULL], queries.last_started(self._parts.engine, name)
        return now - max(began, last or began) > timedelta(seconds=patience)

    def _is_polled(self, name: str, lane: Lane) -> bool:
        running = self._running.get((name, lane))
        return running is not None and not running.done()

    def _is_due(self, watched: Watched, lane: Lane, every: float, now: datetime) -> bool:
        """A fast lane waits for the first whole poll, to compare with; a target for the authorities that are being
        polled, and it is due at once when one of them has said something new.
        """
        name, engine = watched.source.name, self._parts.engine
        if self._is_polled(name, lane):
            return False
        if lane is Lane.FAST:
            return queries.is_watched(engine, name) and due(every, name, queries.last_started(engine, name, lane), now)
        if any(self._is_polled(authority, lane) for authority in watched.authorities):
            return False
        last = queries.last_started(engine, name, lane)
        return due(every, name, last, now) or any(self._moved_since(a, last) for a in watched.authorities)

    def _moved_since(self, authority: str, last: datetime | None) -> bool:
        if authority not in self._moved:
            self._moved[authority] = queries.last_moved(self._parts.engine, authority)
        moved = self._moved[authority]
        return moved is not None and last is not None and last < moved

    def _poll(self, name: str, lane: Lane) -> None:
        try:
            run_cycle(self._parts, name, lane=lane)
        except Busy as error:
            log.info("not polled", source=name, why=str(error))
            self._stop.wait(30)
        except MonitorError as error:
            log.error("the poll failed before anything was recorded", source=name, error=str(error))
            self._record_failure(name, str(error), lane)
            self._beat(name, failed=str(error))
            self._stop.wait(30)
        except Exception as error:  # one source must not stop the others; the log keeps what happened
            log.exception("the poll failed before anything was recorded", source=name)
            self._record_failure(name, f"an error in the program, which the log tells: {type(error).__name__}", lane)
            self._beat(name, failed=type(error).__name__)
            self._stop.wait(30)
        else:
            self._moved.pop(name, None)
            self.send()
            if lane is Lane.FULL:
                self._beat(name)
            return
        self.send()

    def _record_failure(self, name: str, why: str, lane: Lane = Lane.FULL) -> None:
        """So that nobody takes a source that is not seen for one where nothing is wrong."""
        if lane is Lane.FAST:  # the next full poll says how well the source is seen
            return
        try:
            record_failure(self._parts, name, why)
        except Exception:  # the database itself may be what fails: then the log is all there is
            log.exception("a failed poll could not be recorded", source=name)

    def _beat(self, name: str, *, failed: str | None = None) -> None:
        try:
            beat(self._parts, name, failed=failed)
        except Exception:  # nobody waits for what a poll's thread raises: unlogged it would be lost
            log.exception("the heartbeat could not be told", source=name)

    def _act(self, click: Click) -> str:
        said = clicked(self._parts, click, self._later)
        self._senders.submit(self.send)  # the message shows at once who did what; Slack does not wait for it
        return said

    def _later(self, work: Callable[[], None]) -> None:
        """What somebody asked for, and does not wait for. A restart before its end drops it: it is asked for again."""
        self._pool.submit(self._work, work)

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # the daemon goes on; the log keeps what happened
            log.exception("what somebody asked for could not be done")
        self.send()

    def send(self) -> None:
        """Starts sending to every receiver with something due that is not being sent to: none waits for another."""
        with self._starting:
            self._tell_in_time()
            try:
                drill_if_due(self._parts)
                waiting = receivers_due(self._parts)
            except MonitorError as error:
                log.error("the outbox could not be read", error=str(error))
                return
            except Exception:  # the next tick tries again; the log keeps what happened
                log.exception("the outbox could not be read")
                return
            for receiver in waiting:
                running = self._sending.get(receiver)
                if running is None or running.done():
                    self._sending[receiver] = self._senders.submit(self._send_to, receiver)

    def _tell_in_time(self) -> None:
        """What time alone brings. Whatever goes wrong there, what waits in the outbox is still sent."""
        parts = self._parts
        try:
            timely.tick(parts, anew=self._timed is not parts)
            self._timed = parts
        except MonitorError as error:
            log.error("what time brings could not be told yet", error=str(error))
        except Exception:  # the next tick tries again; the log keeps what happened
            log.exception("what time brings could not be told yet")

    def _send_to(self, receiver: str) -> None:
        # stopping: what is in hand is finished, and what still waits goes out at the next start
        pace = Pace(patience=0.0, most=1000, go_on=self._goes_on)
        try:
            deliver_to(self._parts, receiver, pace)
        except MonitorError as error:
            log.error("the outbox could not be worked off", receiver=receiver, error=str(error))
        except Exception:  # one receiver must not stop the others; the log keeps what happened
            log.exception("the outbox could not be worked off", receiver=receiver)

    def _goes_on(self) -> bool:
        return not self._stop.is_set() or self._parts.clock.monotonic() < self._stopped_at + FINISHING

    def reload(self) -> None:
        """Config and rules anew, all or nothing: a fault leaves what is in force in force."""
        notify("RELOADING=1")
        try:
            self._parts = self._rebuild()
        except MonitorError as error:
            log.error("not reloaded: what was in force stays in force", error=str(error))
            if isinstance(error, RuleErrors):
                self._parts = replace(self._parts, refused_rules=tuple(error.problems))
                tell_of_faulty_rules(self._parts, error)
        else:
            log.info("reloaded", rules=self._parts.rules.digest[:16], sources=sorted(self._parts.watched))
        finally:
            notify("READY=1")
