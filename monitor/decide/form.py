"""The keys of a rule file and of rules/exemptions.toml: names, types and what each is for.

The checks, the JSON Schema for editors and docs/rules.md follow from these models.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from monitor.domain.rule import RuleStatus, Severity

OPENED = "opened_at"  # the clock of rules that name none
DURATION = re.compile(r"(\d{1,5})(s|m|h|d)")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")  # a fact in a title
ADDRESS = re.compile(r"[^@\s<>,;:\"]+@[A-Za-z0-9.-]+\.[A-Za-z0-9-]+")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """ "90d", "12h", "15m", "30s". Raises ValueError."""
    match = DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f'"{text}" is no duration: write a number and s, m, h or d, like "90d"')
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Text = Annotated[str, Field(min_length=1)]
_Said = Annotated[str, StringConstraints(min_length=3, strip_whitespace=True)]


class ExemptionForm(Form):
    subject: _Text | None = Field(
        None, description="Id of the account, person, role, group or source; or an e-mail address. Or write match."
    )
    match: list[_Text] = Field([], description="Instead of a subject: clauses in CEL; every one must hold.")
    reason: _Said = Field(description="Why it is let be.")
    approved_by: _Said = Field(description="Who agreed.")
    expires: date = Field(description="Its last day, in the time zone of the config; at most a year ahead.")
    ticket: _Text | None = Field(None, description="Where it was agreed on.")
    source: list[_Text] = Field([], description="Name of the source, or several; all of them if not given.")

    @field_validator("source", mode="before")
    @classmethod
    def _one_source_or_several(cls, named: Any) -> Any:
        return [named] if isinstance(named, str) else named

    @model_validator(mode="after")
    def _who(self) -> ExemptionForm:
        if (self.subject is None) == (not self.match):
            raise ValueError("name either a subject, or clauses in match")
        if self.subject is not None and "*" in self.subject:
            raise ValueError(
                "a subject is one id or one e-mail; for several write clauses in match, like "
                "'in_domain(account.email, [\"partner.example\"])'"
            )
        return self


class SharedExemptionForm(ExemptionForm):
    rule: list[_Text] = Field(min_length=1, description="Id of the rule, or several; * stands for anything.")

    @field_validator("rule", mode="before")
    @classmethod
    def _one_or_several(cls, named: Any) -> Any:
        return [named] if isinstance(named, str) else named


class ExemptionsForm(Form):
    exemptions: list[SharedExemptionForm] = Field([], description="Dated, approved leave from rules.")


class RuleTestForm(Form):
    name: _Text = Field(description="The case, as a sentence.")
    expect: Literal["finding", "nothing", "unknown", "exempt"] = Field(description="The verdict after the last poll.")
    polls: list[dict[str, Any]] = Field(
        min_length=1, description="The polls, oldest first; each names what changed since the one above it."
    )
    settings: dict[str, Any] = Field({}, description="Other values of settings than the defaults of this file.")


class RuleForm(Form):
    id: str = Field(
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80,
        description="Lower-case words joined by hyphens; equals the file name.",
    )  # fmt: skip
    title: str = Field(
        min_length=1, max_length=200, description="One line for the alert; facts in braces, like {account.email}."
    )
    severity: Severity = Field(description="How bad it is.")
    status: RuleStatus = Field(RuleStatus.ACTIVE, description="draft: recorded, not sent. retired: not judged.")
    owner: _Text = Field(
        description="E-mail of whoever answers for it.", json_schema_extra={"pattern": f"^{ADDRESS.pattern}$"}
    )
    owner_from: list[str] = Field(
        [], description='Facts that name the owner of each finding by e-mail, like "person.manager"; or "source.owner".'
    )
    fix_within: str | None = Field(None, description='Time until a finding is due, like "2d".')
    clock: str = Field(OPENED, description='From when fix_within counts: a timestamp fact, like "person.ended".')
    for_each: Literal["account", "person", "grant", "role", "group", "seat", "source"] = Field(
        description="What is judged, one by one."
    )
    closes: str = Field("fixed", description='When a finding ends: "fixed", "acknowledged" or "after 14d".')
    description: _Text = Field(description="Why it matters, in two or three sentences.")
    runbook: str = Field("", description="What the reader of the alert should do, in numbered steps.")
    match: list[str] = Field(min_length=1, description="Clauses in CEL; every one must hold.")
    evidence: list[str] = Field([], description="More facts to show beside those that the clauses read.")
    tags: list[str] = Field([], description="Words for routing in the config.")
    settings: dict[str, Any] = Field(
        {}, description="Defaults of what clauses read as settings.NAME; the config may say otherwise."
    )
    controls: dict[str, list[str]] = Field({}, description="Clauses of frameworks that the rule serves.")
    exemptions: list[ExemptionForm] = Field([], description="Dated, approved leave for single subjects.")
    tests: list[RuleTestForm] = Field([], description="What should come out of which polls.")

    @field_validator("fix_within")
    @classmethod
    def _duration(cls, text: str | None) -> str | None:
        if text is not None and not duration(text):
            raise ValueError(
                f'"{text}" is no time to mend anything; leave fix_within out for a rule without a deadline'
            )
        return text

    @field_validator("owner")
    @classmethod
    def _address(cls, text: str) -> str:
        if not (ADDRESS.fullmatch(text) and text.isascii()):
            raise ValueError(
                f'"{text}" is no e-mail address; write one, and no more, like "it-security@example.com": what goes to '
                "the owner would reach nobody"
            )
        return text
