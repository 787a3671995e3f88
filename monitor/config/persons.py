"""[[expectations]]: what access goes with a job, and how accounts are matched to those who hold one."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from monitor.config.values import Name, Strict


def _key(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"\w+(:\w+)?", text):
        raise ValueError('must be a field of the person and one of the account, like "employee_id:cf_employee_id", '
                         'or one name for both, like "email"')  # fmt: skip
    return text


MatchKey = Annotated[str, BeforeValidator(_key)]
Word = Annotated[str, Field(min_length=1)]


class ExpectationConfig(Strict):
    title: list[Word] = []
    department: list[Word] = []
    source: list[Name] = []
    levels: list[Word] = []
    groups: list[Word] = []

    @model_validator(mode="after")
    def _expects_something(self) -> ExpectationConfig:
        if not self.levels and not self.groups:
            raise ValueError("expects nothing: say which levels are allowed, or which groups are required")
        return self
