"""The HR beside the school: an export of everybody who has an account, and what happens to some of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from monitor.simulator.people import DAY
from monitor.simulator.school import School
from monitor.simulator.story import Expected

COLUMNS = ("Number", "Mail", "Name", "State", "Department", "Title", "Last day")
TEAM, GROUP = "Training", "Cohort 1"  # a department, and the group that everybody in it must be in


class Staff:
    """Follows the school: whoever gets an account is on the next export, unless HR knows nothing of it."""

    def __init__(self, school: School) -> None:
        self.school = school
        self.unknown: set[str] = set()  # ids of accounts that HR has nobody for
        self._said: dict[str, dict[str, str]] = {}  # by e-mail address
        self.team = [i for i in school.holders("Instructor") if self._plain(i)][:3]
        for who in self.team:
            self.says(who, Department=TEAM, Title="Trainer")
            if GROUP not in school.groups_of(who):
                school.add_member(GROUP, who)

    def _plain(self, who: str) -> bool:
        user = self.school.get(who)
        return user["is_instructor"] and user["last_login"] is not None and not user["is_suspended"]

    def says(self, who: str, **columns: str) -> None:
        self._said.setdefault(self.school.get(who)["email"], {}).update(columns)

    def export(self, path: Path) -> None:
        """Under another name first, as an export should: nobody reads half of it."""
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8", newline="") as file:
            rows = csv.DictWriter(file, COLUMNS)
            rows.writeheader()
            rows.writerows(self._row(u) for u in self.school.users() if u["id"] not in self.unknown)
        os.replace(part, path)

    def _row(self, user: dict[str, Any]) -> dict[str, str]:
        mail = user["email"]
        return {
            "Number": blake2b(mail.encode(), digest_size=4).hexdigest(), "Mail": mail,
            "Name": f"{user['first_name']} {user['last_name']}", "State": "active",
            "Department": user["fields"].get("cf_department", ""), "Title": "Employee", "Last day": "",
        } | self._said.get(mail, {})  # fmt: skip


@dataclass(frozen=True)
class StaffStep:
    title: str
    sentences: tuple[str, ...]
    happens: Callable[[School, Staff, float], Expected]
    quarantined: bool = False  # what the school answers then is not to be believed

    def apply(self, school: School, staff: Staff, now: float) -> Expected:
        with school.lock:
            return self.happens(school, staff, now)


def _changes(school: School, staff: Staff, now: float) -> Expected:
    mover, leaver, _ = staff.team
    staff.says(mover, Department="Sales", Title="Account manager")
    staff.says(leaver, **{"Last day": datetime.fromtimestamp(now - 2 * DAY, UTC).date().isoformat()})
    stranger = school.add_user("temp.desk@agency.example", "Temp Desk", created=now - 3600)
    staff.unknown.add(stranger)
    return Expected(
        opened=frozenset({("leaver-still-active", leaver), ("leaver-still-privileged", leaver),
                          ("mover-kept-access", mover), ("orphan-account", stranger)}),
    )  # fmt: skip


def _half(school: School, _staff: Staff, _now: float) -> Expected:
    school.hide_half()
    return Expected()


def _mended(school: School, staff: Staff, _now: float) -> Expected:
    school.show_all()
    mover, leaver, _ = staff.team
    stranger = next(iter(staff.unknown))
    school.remove_member(GROUP, mover)
    school.change_role(leaver, "User")
    for who in (leaver, stranger):
        school.suspend(who)
    for title in school.groups_of(leaver):
        school.remove_member(title, leaver)
    for title in school.groups_of(stranger):
        school.remove_member(title, stranger)
    return Expected(
        resolved=frozenset({("leaver-still-active", leaver), ("leaver-still-privileged", leaver),
                            ("mover-kept-access", mover), ("orphan-account", stranger)}),
    )  # fmt: skip


STAFF_STORY = (
    StaffStep("what HR knows",
              ("HR's export says that a trainer's last working day was the day before yesterday: the account works on.",
               "Another trainer moved to Sales, and is still in the trainers' group. And an account has appeared for",
               "which HR has nobody."), _changes),
    StaffStep("an answer that is too bad to be true",
              ("The school answers with HTTP 200, whole pages and half of its users; HR knows nothing of that.",
               "The poll is set aside: nobody has left, nothing closes, and a person decides."), _half,
              quarantined=True),
    StaffStep("the school is back, and tidied up",
              ("Everybody is there again. The leaver and the stranger are suspended, the leaver's role is gone,",
               "and the mover is out of the group."), _mended),
)  # fmt: skip
