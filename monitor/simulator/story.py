"""What happens at the school, step by step: the demo plays it, and tests check that every word of it comes true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monitor.simulator.school import School

SMALLEST = 600  # users of a school in which everybody lives whom the story is about


@dataclass(frozen=True)
class Expected:
    """What a watcher must find: (subject id, field, before, after) of changes, (rule, subject id) of findings."""

    changes: tuple[tuple[str, str | None, Any, Any], ...] = ()
    opened: frozenset[tuple[str, str]] = frozenset()
    resolved: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Step:
    title: str
    sentences: tuple[str, ...]
    happens: Callable[[School, float], Expected]

    def apply(self, school: School, now: float) -> Expected:
        with school.lock:
            return self.happens(school, now)


def _movers(school: School, now: float) -> Expected:
    mover, leaver = school.holders("Admin")[0], school.holders("Course creator")[0]
    school.change_role(mover, "User", keep_admin_flag=True)
    school.remove_user(leaver)
    joiner = school.add_user("nora.lind@school.example", "Nora Lind", "Admin", created=now - 3600)
    return Expected(
        ((mover, "role", "Admin", "User"), (mover, "level", "admin", "user"), (leaver, None, ..., None),
         (joiner, None, None, ...)),
        frozenset({("admin-kept-after-role-change", mover), ("new-privileged-account", joiner),
                   ("too-many-admins", "school")}),
    )  # fmt: skip


def _suspensions(school: School, now: float) -> Expected:
    manager, back = school.holders("User group manager")[0], school.case("suspended")
    school.suspend(manager)
    school.unsuspend(back)
    rules = ["suspended-still-privileged", "suspended-still-group-manager"]
    if school.groups_of(manager):
        rules.append("suspended-still-in-groups")
    return Expected(
        ((manager, "status", "active", "suspended"), (back, "status", "suspended", "active")),
        frozenset((rule, manager) for rule in rules) | {("reactivated-after-suspension", back)},
    )


def _quiet(school: School, now: float) -> Expected:
    school.sign_in_some(0.05, now - 900)
    return Expected()


def _structure(school: School, now: float) -> Expected:
    reviewers = school.holders("Content reviewer")
    role = str(next(r["id"] for r in school.roles if r["title"] == "Content reviewer"))
    school.change_access("Content reviewer", "instructor")
    group = list(school.groups.values())[-1]
    manager = school.record(group["managers"][0])["email"]
    school.remove_managers(group["title"])
    old = next(u["id"] for u in school.users() if u["role"]["name"] == "User" and not u["is_suspended"])
    new = school.recreate_user(old, now - 1800)
    return Expected(
        ((role, "access_level", "user", "instructor"), (group["id"], "managers", manager, None),
         (old, None, ..., None), (new, None, None, ...),
         *((r, "level", "user", "instructor") for r in reviewers)),
        frozenset({("group-without-manager", group["id"]), ("account-recreated", new), ("custom-role-changed", role),
                   ("dormant-privileged-account", school.case("drowsy")),
                   *(("new-privileged-account", r) for r in reviewers)}),
    )  # fmt: skip


def _repairs(school: School, now: float) -> Expected:
    mover = next(u["id"] for u in school.users() if u["is_admin"] and u["role"]["name"] == "User"
                 and u["id"] != school.case("admin-flag-and-role-disagree"))  # fmt: skip
    manager = next(u for u in school.users() if u["is_suspended"] and u["role"]["name"] == "User group manager")["id"]
    school.set(mover, is_admin=False)
    school.change_role(manager, "User")
    managed, member = school.managed_by(manager), school.groups_of(manager)
    deputy = school.holders("User group manager")[0]
    for title in managed:
        school.remove_managers(title)
        school.add_manager(title, deputy)
    for title in member:
        school.remove_member(title, manager)
    lonely = next(g for g in school.groups.values() if not g["managers"])
    school.add_manager(lonely["title"], deputy)
    drowsy = school.case("drowsy")
    school.sign_in(drowsy, now - 7200)
    fixed = {("admin-kept-after-role-change", mover), ("suspended-still-privileged", manager),
             ("suspended-still-group-manager", manager), ("group-without-manager", lonely["id"]),
             ("dormant-privileged-account", drowsy), ("too-many-admins", "school")}  # fmt: skip
    if member:
        fixed.add(("suspended-still-in-groups", manager))
    return Expected(
        ((mover, "is_admin", True, False), (manager, "role", "User group manager", "User"),
         (lonely["id"], "managers", None, school.get(deputy)["email"])),
        resolved=frozenset(fixed),
    )  # fmt: skip


STORY = (
    Step("a mover, a joiner and a leaver",
         ("An administrator moves to another job and gets the role User; the admin flag is forgotten.",
          "A new administrator joins, one more than agreed. A course creator's account is deleted."), _movers),
    Step("a suspension, and one that ends",
         ("A group manager is suspended: the role and the groups stay.", "Somebody else is let in again."),
         _suspensions),
    Step("an ordinary day", ("People sign in; nobody's access changes, so nobody is told anything.",), _quiet),
    Step("a wider role, a group alone, an old address",
         ("A custom role goes from user to instructor level: its holders have more access without being touched.",
          "A group loses its manager, and one user's account is deleted and made again under the same address.",
          "A support lead has now been away for more than 90 days."), _structure),
    Step("repairs",
         ("The admin flag goes, the suspended manager loses role and groups, the group gets a manager,",
          "and the support lead signs in. The next poll proves it: the findings close."), _repairs),
)  # fmt: skip
