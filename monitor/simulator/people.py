"""Who is in the school when it is made: every user follows from the seed and a number, so a million cost nothing."""

from __future__ import annotations

import hashlib
from typing import Any

DAY = 86400.0
EPOCH = 0x5E000000  # ids are 24 hexadecimal digits whose first eight count

ROLES: tuple[tuple[str, str, str, bool], ...] = (
    ("Admin", "Can do everything in the school", "admin", False),
    ("Course creator", "Makes courses and teaches them", "instructor", False),
    ("Instructor", "Teaches the assigned courses", "instructor", False),
    ("Segment Reporter", "Reads reports on a segment of the users", "reporter", False),
    ("User group manager", "Looks after the users of the assigned groups", "seat_manager", False),
    ("User", "Learns", "user", False),
    ("Support lead", "Answers tickets; made by the school", "admin", True),
    ("Content reviewer", "Comments on drafts of courses; made by the school", "user", True),
)
STAFF = (
    "Admin", "Course creator", "Instructor", "User group manager", "Segment Reporter", "Instructor", "Support lead",
    "User group manager", "Course creator", "Instructor",
)  # fmt: skip
CASES = (
    "suspended-still-privileged",
    "suspended-still-group-manager",
    "suspended-still-in-groups",
    "admin-flag-and-role-disagree",
    "role-and-level-disagree",
    "privileged-never-signed-in",
    "dormant-privileged-account",
    "drowsy",  # a privileged account, soon to be dormant
    "suspended",  # nothing is wrong with it
    "reviewer",
    "reviewer",
)
FIRST = (
    "Ada", "Amir", "Ana", "Ben", "Carla", "Chen", "Dana", "David", "Elif", "Emma", "Farid", "Grace", "Hana", "Hugo",
    "Ines", "Ivan", "Jack", "Jana", "Kofi", "Lea", "Leo", "Lina", "Mara", "Marc", "Mia", "Nadia", "Noah", "Omar",
    "Paula", "Quinn", "Rosa", "Sam", "Sara", "Theo", "Uma", "Vera", "Wei", "Yara", "Yusuf", "Zoe",
)  # fmt: skip
LAST = (
    "Abe", "Bauer", "Brown", "Costa", "Dahl", "Diaz", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jensen",
    "Kaya", "Kim", "Larsen", "Lopez", "Marino", "Meyer", "Nair", "Novak", "Okafor", "Park", "Petrov", "Rossi",
    "Sato", "Silva", "Singh", "Suzuki", "Tan", "Vogel", "Weber", "Young", "Zhang",
)  # fmt: skip
DEPARTMENTS = ("Sales", "Support", "Finance", "Engineering", "Marketing", "Operations")


def dice(seed: int, what: str, number: int) -> bytes:
    """Sixteen bytes that look random and always come out the same."""
    return hashlib.blake2b(f"{seed}/{what}/{number}".encode(), digest_size=16).digest()


def user_id(seed: int, index: int) -> str:
    return f"{EPOCH + index:08x}{dice(seed, 'id', index)[:8].hex()}"


def index_of(an_id: str) -> int | None:
    try:
        return int(an_id[:8], 16) - EPOCH if len(an_id) == 24 else None
    except ValueError:
        return None


def staff_role(index: int) -> str | None:
    """One user in fifty works here."""
    return STAFF[index // 50 % len(STAFF)] if index % 50 == 7 else None


def case_of(index: int) -> str | None:
    """The users with whom something is the matter from the start: one of each kind."""
    return CASES[index // 50] if index % 50 == 31 and index // 50 < len(CASES) else None


def dormant(index: int) -> bool:
    return index % 97 == 13 and staff_role(index) is None and case_of(index) is None


def user(seed: int, index: int, of: int, now: float) -> dict[str, Any]:
    """One user as LearnWorlds' API v2 writes it. The newest has the highest number."""
    d = dice(seed, "user", index)
    first, last = FIRST[d[0] % len(FIRST)], LAST[d[1] % len(LAST)]
    created = now - 1200 * DAY * (1 - index / of) - 2 * DAY - d[2] * 0.000_37
    login: float | None = max(created + 60, now - d[3] / 256 * 100 * DAY - d[4] * 11.000_125)
    role, case, suspended = staff_role(index) or "User", case_of(index), False
    if role != "User":
        login = max(created + 60, now - d[3] / 256 * 20 * DAY - 0.25)
    elif case is None and dormant(index):
        login = max(created + 60, now - (200 + d[3]) * DAY - 0.5)
    elif case is None and index % 41 == 3:
        login = None
    elif case is None and index % 211 == 17:
        suspended = True
    record = _record(user_id(seed, index), first, last, index, created, login, d)
    record["is_suspended"] = suspended
    put_role(record, role)
    if case is not None:
        _fall_ill(record, case, now)
    return record


def _fall_ill(record: dict[str, Any], case: str, now: float) -> None:
    record["is_suspended"] = case.startswith("suspended")
    record["last_login"] = now - 3 * DAY - 0.125
    if case in ("suspended-still-privileged", "privileged-never-signed-in", "role-and-level-disagree"):
        put_role(record, "Instructor")
    if case == "dormant-privileged-account":
        put_role(record, "Segment Reporter")
        record["last_login"] = now - 140 * DAY
    elif case == "drowsy":
        put_role(record, "Support lead")
        record["last_login"] = now - 84 * DAY
    elif case == "reviewer":
        record["role"] = {"level": "user", "name": "Content reviewer"}
    elif case == "admin-flag-and-role-disagree":
        record["is_admin"] = True
    elif case == "role-and-level-disagree":
        record["role"] = {"level": "user", "name": "Instructor"}
        record["is_instructor"] = False
    elif case == "privileged-never-signed-in":
        record["last_login"] = None


def put_role(record: dict[str, Any], title: str, level: str | None = None) -> None:
    """The flags follow the role, as they do when a role is given in the school's settings."""
    level = level or next(r[2] for r in ROLES if r[0] == title)
    record["role"] = {"level": level, "name": title}
    for flag, of in (("is_admin", "admin"), ("is_instructor", "instructor"), ("is_reporter", "reporter")):
        record[flag] = level == of


UTMS = {
    f"{click}_{what}": "/" if what == "landing" else None
    for click in ("fc", "lc")
    for what in (
        "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "landing", "referrer", "country",
    )
}  # fmt: skip
BILLING = dict.fromkeys(("bf_name", "bf_address", "bf_city", "bf_postalcode", "bf_country", "bf_taxid"))


def _record(
    an_id: str, first: str, last: str, index: int, created: float, login: float | None, d: bytes
) -> dict[str, Any]:
    name = f"{first.lower()}.{last.lower()}{index}"
    # `fields` without nulls: the schema calls every field a string, though its samples have nulls
    return {
        "id": an_id,
        "email": f"{name}@school.example",
        "username": name,
        "first_name": first,
        "last_name": last,
        "subscribed_for_marketing_emails": bool(d[5] & 1),
        "eu_customer": bool(d[5] & 2),
        "is_admin": False,
        "is_instructor": False,
        "is_suspended": False,
        "is_reporter": False,
        "role": {"level": "user", "name": "User"},
        "is_affiliate": d[6] == 0,
        "referrer_id": None,
        "created": created,
        "last_login": login,
        "signup_approval_status": "passed",
        "fields": {"cf_department": DEPARTMENTS[d[7] % len(DEPARTMENTS)]},
        "tags": [f"cohort-{2023 + d[8] % 4}"],
        "utms": UTMS,
        "billing_info": BILLING,
        "nps_score": d[9] % 4 + 7 if d[9] > 180 else None,
        "nps_comment": "fine" if d[9] > 250 else None,
    }
