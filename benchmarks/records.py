"""A school of any size as the pages that LearnWorlds would send, in three states, written to files.

first    as the first poll sees it (a poll that finds nothing new reads these very bytes again)
moved    5 % of the accounts signed in since, and nothing else
changed  the same, and 1 % of the accounts changed in access: role, suspension, tags and fields, or group

Everything is computed from the position of an account, newest first, so the same size gives the same bytes.
One file holds one kind of page, a page a line; STATE.tsv says in which order a poll asks for what.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

STATES = ("first", "moved", "changed")
PER_PAGE = 200
NOW = 1_772_323_200  # the first poll: 1 March 2026
DAY = 86_400
API = "/admin/api"

ROLES = (
    ("61bb42d5e07e202700000001", "User", "user", False),
    ("61bb42d5e07e202700000002", "Admin", "admin", False),
    ("61bb42d5e07e202700000008", "Course creator", "instructor", False),
    ("61bb42d5e07e202700000011", "Segment reporter", "reporter", False),
    ("61bb42d5e07e202700000014", "User group manager", "seat_manager", False),
    ("623337c2e7c2d86f9f17a9a3", "Support lead", "admin", True),
    ("623337c2e7c2d86f9f17a9a4", "Member", "user", True),
)
USER, CREATOR, MEMBER = ROLES[0], ROLES[2], ROLES[6]
PRIVILEGED = ROLES[1:6]

# The shape of the documented User; %s where records differ.
USER_TEXT = (
    '{"id":"%s","email":"%s@example.com","username":"%s","first_name":"First%s","last_name":"Last%s",'
    '"subscribed_for_marketing_emails":true,"eu_customer":false,"is_admin":%s,"is_instructor":%s,"is_suspended":%s,'
    '"is_reporter":%s,"role":{"level":"%s","name":"%s"},"is_affiliate":false,"referrer_id":null,"created":%s,'
    '"last_login":%s,"signup_approval_status":"passed","fields":{"bio":null,"location":null,"url":null,"fb":null,'
    '"twitter":null,"instagram":null,"linkedin":null,"skype":null,"behance":null,"dribbble":null,"github":null,'
    '"phone":null,"address":null,"country":null,"birthday":null,"company":"Company %s","company_size":null,'
    '"university":null,"graduation_year":null,"cf_department":"%s"},"tags":["cohort-%s","%s"],'
    '"utms":{"fc_utm_source":null,"fc_utm_medium":null,"fc_utm_campaign":null,"fc_utm_term":null,'
    '"fc_utm_content":null,"fc_landing":"/","fc_referrer":null,"fc_country":null,"lc_utm_source":null,'
    '"lc_utm_medium":null,"lc_utm_campaign":null,"lc_utm_term":null,"lc_utm_content":null,"lc_landing":"/",'
    '"lc_referrer":null,"lc_country":null},"billing_info":{"bf_name":null,"bf_address":null,"bf_city":null,'
    '"bf_postalcode":null,"bf_country":null,"bf_taxid":null},"nps_score":%s,"nps_comment":null}'
)
MEMBER_TEXT = '{"id":"%s","email":"u%d@example.com","username":"u%d"}'
DEPARTMENTS = ("Sales", "Support", "Finance", "Research", "Operations")


class School(NamedTuple):
    accounts: int
    state: str

    @property
    def groups(self) -> int:
        """As many as give a group about 400 members, when everybody is in two."""
        return max(2, self.accounts // PER_PAGE)


def mixed(i: int) -> int:
    """A number that looks random and is always the same (splitmix64)."""
    z = (i + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return z ^ z >> 27


def created(i: int, accounts: int) -> int:
    return NOW - DAY - i * 730 * DAY // accounts


def account_id(i: int, accounts: int) -> str:
    """Like an object id: the time of creation, then something unique."""
    return f"{created(i, accounts):08x}{mixed(i):016x}"


def change_of(i: int, state: str) -> int | None:
    """Which of ten kinds of change an account has had: one account in a hundred has one."""
    return i // 100 % 10 if state == "changed" and i % 100 == 7 else None


def role_of(i: int, change: int | None) -> tuple[str, str, str, bool]:
    if change is not None and change <= 3:
        return CREATOR if change == 3 else MEMBER
    return PRIVILEGED[i // 200 % 5] if i % 200 == 11 else USER


def nps(z: int) -> str:
    """One in twenty answers, and one in a hundred is a detractor."""
    return str(z // 100 % 6 + 1) if z % 100 == 0 else str(z // 100 % 4 + 7) if z % 100 < 5 else "null"


def last_login(i: int, z: int, state: str) -> str:
    if i % 100 == 42:
        return "null"
    if state != "first" and i % 20 == 3:
        return f"{NOW + z % 900}.{z % 899_999 + 100_001}"
    days = 100 + z % 200 if i % 100 == 43 else z % 60
    return f"{NOW - days * DAY - z % DAY}.{z % 899_999 + 100_001}"


def user(i: int, school: School) -> str:
    z, change = mixed(i), change_of(i, school.state)
    _, title, level, _ = role_of(i, change)
    made = created(i, school.accounts)
    admin = level == "admin" or i % 10_000 == 17
    suspended = i % 50 == 5 or change in (4, 5, 6)
    name = f"u{i}"
    return USER_TEXT % (
        f"{made:08x}{z:016x}", name, name, i, i,
        "true" if admin else "false", "true" if level == "instructor" else "false",
        "true" if suspended else "false", "true" if level == "reporter" else "false",
        level, title, f"{made}.{z % 899_999 + 100_001}", last_login(i, z, school.state), z % 5000,
        DEPARTMENTS[(z + (1 if change in (7, 8) else 0)) % 5], z % 40, "moved" if change in (7, 8) else "onboarding",
        nps(z),
    )  # fmt: skip


def page(records: Iterable[str], number: int, pages: int, total: int) -> str:
    meta = f'{{"page":{number},"totalItems":{total},"totalPages":{pages},"itemsPerPage":{PER_PAGE}}}'
    return f'{{"data":[{",".join(records)}],"meta":{meta}}}'


def paged(total: int) -> Iterator[tuple[int, int, int]]:
    """The number, first and past-the-last position of every page."""
    for number in range(1, max(1, -(-total // PER_PAGE)) + 1):
        yield number, (number - 1) * PER_PAGE, min(number * PER_PAGE, total)


def user_pages(school: School) -> Iterator[tuple[str, int, str]]:
    n = school.accounts
    for number, start, end in paged(n):
        records = (user(i, school) for i in range(start, end))
        yield "/v2/users", number, page(records, number, -(-n // PER_PAGE), n)


def role_pages(_school: School) -> Iterator[tuple[str, int, str]]:
    keys = ("id", "title", "access_level", "custom_role")
    roles = [dict(zip(keys, role, strict=True)) | {"description": ""} for role in ROLES]
    yield "/v2/user-roles", 1, json.dumps({"data": roles}, separators=(",", ":"))


def group_id(g: int) -> str:
    return f"646f3a80{g:016x}"


def privileged(school: School) -> list[int]:
    n, state = school.accounts, school.state
    return [
        i for i in range(n)
        if i % 200 == 11 or i % 10_000 == 17 or (i % 100 == 7 and change_of(i, state) == 3)
    ]  # fmt: skip


def group(g: int, school: School) -> str:
    i = min(g * 200 + 11, school.accounts - 1)
    manager = f'{{"id":"{account_id(i, school.accounts)}","username":"u{i}","email":"u{i}@example.com"}}'
    return (
        f'{{"id":"{group_id(g)}","title":"Cohort {g}","description":"text",'
        f'"products":{{"courses":["course-{g % 50}"]}},"max_number_of_users":1000,'
        f'"enroll_users_on_courses":false,"group_managers":[{manager}],"tags":["cohort"],'
        f'"created":1685011072.247868,"modified":1685011166.656884}}'
    )


def group_pages(school: School) -> Iterator[tuple[str, int, str]]:
    for number, start, end in paged(school.groups):
        records = (group(g, school) for g in range(start, end))
        yield "/v2/user_groups", number, page(records, number, -(-school.groups // PER_PAGE), school.groups)


def cohort(i: int, school: School) -> int:
    """The group of neighbours in age; one in ten of the changed accounts left it for the next one."""
    return min(i // PER_PAGE + (change_of(i, school.state) == 9), school.groups - 1)


def members(g: int, school: School) -> list[int]:
    """Everybody is in two groups: a cohort, and one of people from everywhere."""
    n, last = school.accounts, g == school.groups - 1
    near = range(max(0, g - 1) * PER_PAGE, n if last else min(n, (g + 1) * PER_PAGE))
    return sorted({*range(g, n, school.groups), *(i for i in near if cohort(i, school) == g)})


def member_pages(school: School) -> Iterator[tuple[str, int, str]]:
    n = school.accounts
    for g in range(school.groups):
        ids = members(g, school)
        for number, start, end in paged(len(ids)):
            records = (MEMBER_TEXT % (account_id(i, n), i, i) for i in ids[start:end])
            body = page(records, number, max(1, -(-len(ids) // PER_PAGE)), len(ids))
            yield f"/v2/user_groups/{group_id(g)}/users", number, body


def detail_pages(school: School) -> Iterator[tuple[str, int, str]]:
    for i in privileged(school):
        id_, title, level, _ = role_of(i, change_of(i, school.state))
        user_id = account_id(i, school.accounts)
        yield (
            f"/v2/users/{user_id}/user-role",
            1,
            (
                f'{{"id":"{user_id}","email":"u{i}@example.com","username":"u{i}","role_id":"{id_}",'
                f'"user_role":{{"id":"{id_}","access_level":"{level}","name":"{title}"}},"assigned_courses":[],'
                '"assigned_seat_offering_ids":[],"assigned_user_group_ids":[],"assigned_segment_id":null}'
            ),
        )


KINDS = {
    "roles": role_pages, "users": user_pages, "groups": group_pages, "members": member_pages, "details": detail_pages,
}  # fmt: skip
MOVES = {"first": set(KINDS), "moved": {"users"}, "changed": {"users", "members", "details"}}  # other files are first's


def write(folder: Path, accounts: int) -> None:
    """All states into a folder."""
    listed: dict[str, list[str]] = {}
    for state in STATES:
        with (folder / f"{state}.tsv").open("w", encoding="ascii") as index:
            for kind, pages in KINDS.items():
                if kind in MOVES[state]:
                    listed[kind] = list(_written(folder / f"{kind}.{state}.ndjson", pages(School(accounts, state))))
                index.writelines(listed[kind])


def _written(path: Path, pages: Iterable[tuple[str, int, str]]) -> Iterator[str]:
    """Lines of the index: file, path, page, offset, length."""
    offset = 0
    with path.open("wb") as file:
        for where, number, text in pages:
            body = text.encode()
            file.write(body + b"\n")
            yield f"{path.name}\t{API}{where}\t{number}\t{offset}\t{len(body)}\n"
            offset += len(body) + 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the pages of a school of some size, in every state.")
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    write(asked.folder, asked.accounts)


if __name__ == "__main__":
    main()
