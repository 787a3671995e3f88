"""One poll of every source, or the daemon that polls until it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

from monitor import wiring
from monitor.cli import logs
from monitor.cli.app import Exit
from monitor.cli.clock import SystemClock
from monitor.cli.output import console, counted, one_line
from monitor.cli.progress import progress
from monitor.config import Config
from monitor.cycle import CycleResult, run_cycle
from monitor.daemon import Daemon, tell_of_faulty_rules
from monitor.dispatch import beat, deliver_waiting, drill_if_due
from monitor.domain.message import Sending
from monitor.domain.reading import Lane, Outcome
from monitor.errors import Busy, MonitorError, RuleErrors
from monitor.line import timely
from monitor.line.doubt import Acceptance
from monitor.line.parts import Parts


def watch(read: Callable[[], Config]) -> None:
    """Until SIGTERM. `read` is called again at SIGHUP."""
    config, clock = read(), SystemClock()
    logs.set_up(config.log)
    engine = wiring.database(config)

    folder = wiring.rules_folder(config)

    def build() -> Parts:
        nonlocal config
        now = read()
        wiring.refuse_lost(now, folder)
        rules = wiring.tested(wiring.rule_set(now, clock.now().date()))
        built = wiring.parts(now, clock, stream=sys.stdout, engine=engine, rules=rules)
        config = now  # whose folder of rules is looked at from now on
        return built

    try:
        parts = build()
    except RuleErrors as error:
        # A restart must not end the watching because somebody is editing a rule.
        rules = wiring.last_good(engine, clock, wiring.company(config))
        if rules is None:
            raise
        parts = wiring.parts(config, clock, stream=sys.stdout, engine=engine, rules=rules)
        parts = replace(parts, refused_rules=tuple(error.problems))
        tell_of_faulty_rules(parts, error)
    Daemon(parts, build, lambda: wiring.rules_stamp(config)).run()


def poll_once(config: Config, source: str | None, accepted_by: str | None = None, lane: Lane = Lane.FULL) -> Exit:
    """`accepted_by`: who answers for whatever the poll shows, beyond the limits too."""
    logs.set_up(config.log, quiet=sys.stderr.isatty())  # bars and a sentence there, a log line elsewhere
    with progress() as bars:
        parts = wiring.parts(config, SystemClock(), stream=sys.stdout, progress=bars, only=source)
        acceptance = None if accepted_by is None else Acceptance(accepted_by)
        asked = [n for n, w in parts.watched.items() if lane is Lane.FULL or w.fast is not None or source is not None]
        results, failed = list[CycleResult](), list[MonitorError]()
        for name in asked:
            try:
                results.append(_cycle(parts, name, acceptance, lane))
            except MonitorError as error:  # one source must not stop the others; it is said at the end
                failed.append(error)
    drill_if_due(parts)
    timely.tick(parts, anew=True)
    ended = deliver_waiting(parts)
    for name in asked if lane is Lane.FULL else ():
        beat(parts, name)
    for result in results:
        _summary(result)
    unsent = sum(n for how, n in ended.items() if how != Sending.SENT.value)
    if unsent:
        console(err=True).print(
            f"{counted(unsent, 'message')} could not be sent; see `access-monitor outbox`", style="yellow"
        )
    for fault in failed[:-1]:
        console(err=True).print(f"error: {one_line(fault)}", markup=False, style="red")
    if failed:
        raise failed[-1]
    return _code(results)


def _cycle(parts: Parts, name: str, acceptance: Acceptance | None, lane: Lane) -> CycleResult:
    try:
        return run_cycle(parts, name, acceptance, lane)
    except Busy:  # another process polls it, and tells
        raise
    except MonitorError as error:
        beat(parts, name, failed=str(error))
        raise


def _code(results: list[CycleResult]) -> Exit:
    outcomes = {r.snapshot.outcome for r in results}
    if Outcome.FAILED in outcomes:
        return Exit.FAILED
    return Exit.PARTIAL if outcomes & {Outcome.PARTIAL, Outcome.QUARANTINED} else Exit.DONE


def _summary(result: CycleResult) -> None:
    snapshot = result.snapshot
    said = [
        f"{snapshot.source}: snapshot {result.snapshot_id} is {snapshot.outcome.value}",
        counted(snapshot.proof.requests, "request"),
        counted(result.changes, "change"),
        f"{counted(sum(e.kind.value == 'opened' for e in result.events), 'finding')} opened",
        f"{sum(e.kind.value == 'resolved' for e in result.events)} resolved",
        counted(result.notifications, "message"),
    ]
    if result.unknown:
        said.append(f"{counted(sum(result.unknown.values()), 'verdict')} unknown")
    console().print("; ".join(said), markup=False)
    if snapshot.error and sys.stderr.isatty():  # elsewhere the log has said it
        console(err=True).print(f"  {one_line(snapshot.error)}", style="yellow", markup=False)
