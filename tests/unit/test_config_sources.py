"""Settings of each kind of source: one error for each mistake, with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import load
from monitor.errors import ConfigError
from monitor.wiring.sources import watched
from tests.peers.watch import VirtualClock

REST = '\n[[receivers]]\nname = "out"\nkind = "console"\n\n[[routes]]\nto = ["out"]\n'
FILE = 'kind = "file"\npath = "x.csv"\ncolumns = { id = "Nr" }'
SQL = 'kind = "sql"\nurl = "sqlite:///x.sqlite"\nquery = "SELECT 1"\ncolumns = { id = "Nr" }'
SCIM = 'kind = "scim"\nurl = "https://idp.example.com/scim/v2"\ntoken = { env = "PATH" }'

MISTAKES: list[tuple[str, str, str, str]] = [
    (FILE, 'id = "Nr"', 'id = "Nr", emial = "Mail"', "columns.emial: is no setting; did you mean email?"),
    (FILE, 'id = "Nr"', 'email = "Mail"', "columns.id: is missing"),
    (FILE, '{ id = "Nr" }', '"Nr"', "columns: must be a table"),
    (FILE, "x.csv", "x.dat", "path: the ending does not say what the file is; set `format`"),
    (FILE, 'path = "x.csv"', 'path = "x.csv"\nencoding = "utf8000"', "encoding: is no encoding; write it like"),
    (FILE, 'path = "x.csv"', 'path = "x.csv"\ndelimiter = ";;"', "delimiter: String should have at most 1 character"),
    (FILE, 'path = "x.csv"', 'path = "x.csv"\ndate_format = "DD.MM.YYYY"', "date_format: must say where day, month"),
    (FILE, 'path = "x.csv"', 'path = "x.csv"\nmax_shrink = 50', "max_shrink: Input should be less than or equal to 1"),
    (FILE, 'path = "x.csv"', 'path = "x.csv"\nfields = ["id"]', "fields: id is already the name of another column"),
    (
        FILE,
        'path = "x.csv"',
        'path = "x.csv"\nstatus_values = { gone = "left" }',
        "status_values.gone: Input should be",
    ),
    (SQL, "sqlite:///x.sqlite", "postgresql://a:hunter2@h/d", "url: a password must not stand in the config"),
    (SQL, "sqlite:///x.sqlite", "people", "url: is no address of a database"),
    (SQL, "SELECT 1", "DELETE FROM people", "query: must be one SELECT"),
    (SQL, "SELECT 1", "SELECT 1; SELECT 2", "query: must be one SELECT, and not several statements"),
    (SCIM, "https://idp", "https://ann:hunter2@idp", "url: must be an address without a password or a query"),
    (SCIM, '{ env = "PATH" }', '"hunter2"', "token: a secret must not stand in the config"),
    (SCIM, "token", "tokem", "tokem: is no setting; did you mean token?"),
    (SCIM, 'kind = "scim"', 'kind = "scim"\npaging = "page"', "paging: Input should be 'auto', 'index' or 'cursor'"),
]


@pytest.mark.parametrize(("good", "old", "new", "said"), MISTAKES, ids=[m[3][:50] for m in MISTAKES])
def test_a_mistake_is_one_clear_error(tmp_path: Path, good: str, old: str, new: str, said: str) -> None:
    """When the config is loaded or the source is built; and without the mistake there is none."""
    path = tmp_path / "config.toml"
    path.write_text(f'[[sources]]\nname = "x"\n{good}\n{REST}')
    build(path)
    assert old in good
    path.write_text(f'[[sources]]\nname = "x"\n{good.replace(old, new, 1)}\n{REST}')
    with pytest.raises(ConfigError) as caught:
        build(path)
    (problem,) = caught.value.problems
    assert problem.removeprefix("sources[0].").removeprefix("sources[0]: ").startswith(said)
    assert "hunter2" not in str(caught.value)


def build(path: Path) -> None:
    config = load(path)
    watched(config, config.sources[0], "sources[0]", VirtualClock(), None, path.parent)
