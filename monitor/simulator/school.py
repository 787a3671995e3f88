"""The school itself: who is in it now, and what can happen to them. It knows nothing of HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from monitor.simulator import people
from monitor.simulator.people import DAY

User = dict[str, Any]


class School:
    """Deterministic: the same `users`, `seed` and `now` (Unix time, seconds) give the same school, byte for byte.

    Users are made when they are looked at, so that the size costs little. Everything that changes the school is a
    method here; all of them take a user's id or e-mail address.
    """

    def __init__(self, users: int = 2000, seed: int = 1, now: float = 1_700_000_000.0) -> None:
        self.seed, self.now, self.size = seed, now, users
        self.lock = threading.RLock()
        self._order = list(range(users - 1, -1, -1))  # newest first, as the API lists them
        self._gone: set[int] = set()
        self._kept: dict[int, User] = {}  # those that were changed or added
        self._added = users
        self._addresses: dict[str, int] = {}  # of those that were changed or added
        self._visible: list[int] | None = None
        self._hidden: set[int] = set()  # whom no answer shows, though they are there
        self.roles = [
            {"id": f"61bb42d5e07e2027{n:08x}", "title": title, "description": text, "access_level": level,
             "custom_role": custom}
            for n, (title, text, level, custom) in enumerate(people.ROLES, 1)
        ]  # fmt: skip
        self.groups: dict[str, dict[str, Any]] = {}
        self.members: dict[str, list[int]] = {}
        self.seats: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []  # the oldest first
        self._make_groups()
        self._make_seats()

    def _make_groups(self) -> None:
        wanted = min(max(self.size // 200, 1), 400)
        managers = [i for i in range(self.size) if people.staff_role(i) == "User group manager"]
        for n in range(wanted):
            group_id = f"646f3a80{people.dice(self.seed, 'group', n)[:8].hex()}"
            created = self.now - (400 - n) * DAY
            self.groups[group_id] = {
                "id": group_id, "title": f"Cohort {n + 1}", "description": f"The learners of cohort {n + 1}",
                "products": {"courses": [f"course-{n % 7 + 1}"]}, "max_number_of_users": 200 + n,
                "enroll_users_on_courses": n % 2 == 0, "managers": [managers[n % len(managers)]] if managers else [],
                "tags": [f"cohort-{2023 + n % 4}"], "created": created, "modified": created,
            }  # fmt: skip
            self.members[group_id] = []
        lists = list(self.members.values())
        for index in range(self.size - 1, -1, -1):
            if index % 3 == 0 and not self._at_start_suspended(index):
                lists[index // 3 % wanted].append(index)
        self._place_cases()

    def _at_start_suspended(self, index: int) -> bool:
        case = people.case_of(index)
        return case.startswith("suspended") if case else index % 211 == 17 and people.staff_role(index) is None

    def _make_seats(self) -> None:
        """Seat offerings of customers: some of the learners are in them, and most of these have a seat."""
        managers = [i for i in range(self.size) if people.staff_role(i) == "User group manager"]
        for n in range(min(max(self.size // 400, 1), 50)):
            members = [i for i in range(self.size - 1, -1, -1) if i % 401 in range(n, 401, 50)]
            members = [i for i in members if not self._at_start_suspended(i) and people.staff_role(i) is None]
            created = self.now - (300 - n) * DAY
            self.seats[f"647f3a80{people.dice(self.seed, 'seats', n)[:8].hex()}"] = {
                "title": f"Customer {n + 1}", "description": f"The seats of customer {n + 1}",
                "courses": [f"course-{n % 7 + 1}"], "purchased": len(members) + 5, "max": len(members) + 20,
                "managers": [managers[n % len(managers)]] if managers else [], "members": members,
                "tags": [f"customer-{n + 1}"], "created": created,
            }  # fmt: skip

    def _place_cases(self) -> None:
        groups = list(self.groups)
        for index in range(31, min(self.size, 50 * len(people.CASES)), 50):
            case = people.case_of(index)
            if case == "suspended-still-group-manager":
                self.groups[groups[min(1, len(groups) - 1)]]["managers"].append(index)
            elif case == "suspended-still-in-groups":
                self.members[groups[min(2, len(groups) - 1)]].append(index)

    # looking

    def find(self, who: str) -> User | None:
        """By id or by e-mail address."""
        index = self._index(who)
        return None if index is None else self.record(index)

    def get(self, who: str) -> User:
        return self.record(self._known(who))

    def record(self, index: int) -> User:
        kept = self._kept.get(index)
        return kept if kept is not None else people.user(self.seed, index, self.size, self.now)

    def listed(self, *, suspended: bool) -> list[int]:
        """The numbers of the users, newest first; without the suspended ones unless asked for them."""
        if suspended:
            return [i for i in self._order if i not in self._hidden] if self._hidden else self._order
        if self._visible is None:
            self._visible = [i for i in self.listed(suspended=True) if not self.record(i)["is_suspended"]]
        return self._visible

    def filtered(self, numbers: list[int], role: str | None, status: str | None) -> list[int]:
        """Of these, those of that level and that status; what the API does not know as a status filters nothing."""
        if role not in (None, "user"):
            wanted = self._privileged_candidates()
            numbers = [i for i in numbers if i in wanted]
        records = ((i, self.record(i)) for i in numbers)
        return [i for i, u in records if role in (None, u["role"]["level"]) and _is(u, status)]

    def users(self) -> Iterator[User]:
        return map(self.record, self._order)

    def _index(self, who: str) -> int | None:
        made = self._made_for(who) if "@" in who else people.index_of(who)
        index = self._addresses.get(who.casefold(), made)
        if index is None or index in self._gone | self._hidden or not 0 <= index < self._added:
            return None
        found = self.record(index)
        return index if who.casefold() in (found["id"], found["email"].casefold()) else None

    def _made_for(self, address: str) -> int | None:
        digits = address.split("@", 1)[0].lstrip("abcdefghijklmnopqrstuvwxyz.")
        return int(digits) if digits.isascii() and digits.isdigit() else None

    def _known(self, who: str) -> int:
        index = self._index(who)
        if index is None:
            raise KeyError(f"the school has no user {who}")
        return index

    @property
    def admins(self) -> int:
        """How many administrators there are who can sign in."""
        return sum(
            (u["is_admin"] or u["role"]["level"] == "admin") and not u["is_suspended"]
            for u in map(self.record, self._privileged_candidates())
        )

    def _privileged_candidates(self) -> set[int]:
        made = (i for i in range(self.size) if people.staff_role(i) or people.case_of(i))
        return {i for i in (*made, *self._kept) if i not in self._gone}

    def holders(self, role: str) -> list[str]:
        """The ids of those who hold a role other than User."""
        found = (self.record(i) for i in sorted(self._privileged_candidates()))
        return [u["id"] for u in found if u["role"]["name"] == role]

    def case(self, name: str) -> str:
        """The id of the user with whom this is the matter from the start."""
        index = people.CASES.index(name) * 50 + 31
        if index >= self.size:
            raise KeyError(f"a school of {self.size} users is too small for the case {name}")
        return people.user_id(self.seed, index)

    @property
    def planted(self) -> dict[str, set[str]]:
        """By rule, the ids that the shipped rules must find at the first look."""
        found: dict[str, set[str]] = {}
        for index in range(31, min(self.size, 50 * len(people.CASES)), 50):
            case = people.case_of(index)
            if case and "-" in case:
                found.setdefault(case, set()).add(people.user_id(self.seed, index))
        sleepers = (i for i in range(13, self.size, 97) if people.dormant(i))
        found["dormant-account"] = {u["id"] for u in map(self.record, sleepers) if self._sleeps(u)}
        learners = (i for i in range(3, self.size, 41) if not people.staff_role(i) and not people.case_of(i))
        found["account-not-started"] = {u["id"] for u in map(self.record, learners) if self._waits(u)}
        return {rule: ids for rule, ids in found.items() if ids}

    def _waits(self, user: User) -> bool:
        asked = user["last_login"] is None and not user["is_suspended"]
        return asked and 14 < int((self.now - user["created"]) / DAY) <= 90

    def _sleeps(self, user: User) -> bool:
        return user["last_login"] is not None and int((self.now - user["last_login"]) / DAY) > 180

    # what can happen

    def _touch(self, who: str) -> User:
        index = self._known(who)
        self._visible = None
        return self._kept.setdefault(index, dict(self.record(index)))

    def suspend(self, who: str) -> None:
        self._touch(who)["is_suspended"] = True

    def unsuspend(self, who: str) -> None:
        self._touch(who)["is_suspended"] = False

    def change_role(self, who: str, role: str, *, keep_admin_flag: bool = False) -> None:
        """Gives another role; the flags follow, unless the admin flag is forgotten."""
        user = self._touch(who)
        was = user["is_admin"]
        people.put_role(user, role, self._role(role)["access_level"])
        user["is_admin"] = user["is_admin"] or (keep_admin_flag and was)

    def set(self, who: str, **values: Any) -> None:
        """Any field of a user, as the API would write it."""
        user = self._touch(who)
        for key, value in values.items():
            if key == "email":
                self._addresses[value.casefold()] = self._known(who)
            user[key] = value

    def sign_in(self, who: str, when: float) -> None:
        self._touch(who)["last_login"] = when

    def do(self, who: str, activity: str, when: float) -> None:
        """Somebody does something that the event logs tell."""
        user = self.get(who)
        told = {"user": {"id": user["id"], "username": user["username"]}, "created": when, "activity": activity,
                "description": activity.replace("_", " "), "type": "user"}  # fmt: skip
        self.events.append(told)
        self.events.sort(key=lambda e: e["created"])

    def sign_in_some(self, share: float, when: float) -> int:
        """That share of those who can sign in, and are neither dormant nor a case, does. Returns how many."""
        step = max(round(1 / share), 1)
        found = 0
        for index in self._order[::step]:
            user = self.record(index)
            if not user["is_suspended"] and people.case_of(index) is None and user["last_login"] is not None:
                if people.dormant(index):
                    continue
                self.sign_in(user["id"], when + found * 0.001)
                found += 1
        return found

    def add_user(self, email: str, name: str, role: str = "User", **values: Any) -> str:
        """A newcomer, at the top of the list. Returns the id."""
        index, self._added = self._added, self._added + 1
        first, _, last = name.partition(" ")
        created = values.pop("created", self.now)
        user = people.user(self.seed, 0, 1, self.now) | {
            "id": people.user_id(self.seed, index), "email": email, "username": email.split("@", maxsplit=1)[0],
            "first_name": first, "last_name": last, "created": created, "last_login": created + 60,
            "is_suspended": False,
        }  # fmt: skip
        people.put_role(user, role, self._role(role)["access_level"])
        self._kept[index] = user | values
        self._addresses[email.casefold()] = index
        self._order.insert(0, index)
        self._visible = None
        return str(user["id"])

    def hide_half(self) -> None:
        """Every second user is in no answer any more, not even when asked for: all else looks as it should."""
        self._hidden, self._visible = set(self._order[::2]), None

    def show_all(self) -> None:
        self._hidden, self._visible = set(), None

    def remove_user(self, who: str) -> None:
        """Deletes the account; the groups forget it too."""
        index = self._known(who)
        self._order.remove(index)
        self._gone.add(index)
        self._kept.pop(index, None)
        self._visible = None
        for group_id, members in self.members.items():
            self.members[group_id] = [i for i in members if i != index]
        for group in self.groups.values():
            group["managers"] = [i for i in group["managers"] if i != index]
        for offering in self.seats.values():
            for who_else in ("managers", "members"):
                offering[who_else] = [i for i in offering[who_else] if i != index]

    def recreate_user(self, who: str, when: float) -> str:
        """Deletes an account and signs the same address up again. Returns the new id."""
        old = self.get(who)
        self.remove_user(who)
        return self.add_user(old["email"], f"{old['first_name']} {old['last_name']}", created=when)

    # roles and groups

    def _role(self, title: str) -> dict[str, Any]:
        for role in self.roles:
            if role["title"] == title:
                return role
        raise KeyError(f"the school has no role {title}")

    def change_access(self, role: str, level: str) -> None:
        """Widens or narrows a role: its holders' level and flags follow at once."""
        self._role(role)["access_level"] = level
        for user_id in self.holders(role):
            people.put_role(self._touch(user_id), role, level)

    def group(self, title: str) -> dict[str, Any]:
        for group in self.groups.values():
            if group["title"] == title:
                return group
        raise KeyError(f"the school has no group {title}")

    def add_member(self, title: str, who: str) -> None:
        self.members[self.group(title)["id"]].insert(0, self._known(who))

    def remove_member(self, title: str, who: str) -> None:
        self.members[self.group(title)["id"]].remove(self._known(who))

    def add_manager(self, title: str, who: str) -> None:
        self.group(title)["managers"].append(self._known(who))

    def remove_managers(self, title: str) -> None:
        self.group(title)["managers"] = []

    # seat offerings

    def offering(self, title: str) -> dict[str, Any]:
        for found in self.seats.values():
            if found["title"] == title:
                return found
        raise KeyError(f"the school has no seat offering {title}")

    def add_seat_manager(self, title: str, who: str) -> None:
        self.offering(title)["managers"].append(self._known(who))

    def remove_seat_managers(self, title: str) -> None:
        self.offering(title)["managers"] = []

    def take_seat(self, title: str, who: str) -> None:
        self.offering(title)["members"].insert(0, self._known(who))

    def leave_seat(self, title: str, who: str) -> None:
        self.offering(title)["members"].remove(self._known(who))

    def groups_of(self, who: str) -> list[str]:
        index = self._known(who)
        return [self.groups[g]["title"] for g, members in self.members.items() if index in members]

    def managed_by(self, who: str) -> list[str]:
        index = self._known(who)
        return [g["title"] for g in self.groups.values() if index in g["managers"]]


def _is(user: User, status: str | None) -> bool:
    if status == "suspended":
        return bool(user["is_suspended"])
    return user["last_login"] is None if status == "never_logged_in" else True
