"""The same snapshot and the same diff as a DuckDB script over the same files, on all the cores that DuckDB takes.

Access is compared by a hash of the fields that make a version; sign-ins are kept beside.
Run in a process of its own, which prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import duckdb

from benchmarks.pages import places

USER = (
    "id VARCHAR, email VARCHAR, username VARCHAR, first_name VARCHAR, last_name VARCHAR, is_admin BOOLEAN, "
    "is_instructor BOOLEAN, is_reporter BOOLEAN, is_affiliate BOOLEAN, is_suspended BOOLEAN, "
    "role STRUCT(level VARCHAR, name VARCHAR), created DOUBLE, last_login DOUBLE, tags VARCHAR[], "
    "fields STRUCT(company VARCHAR, cf_department VARCHAR), utms STRUCT(fc_landing VARCHAR, lc_landing VARCHAR), "
    "nps_score INTEGER"
)

TABLES = """
CREATE TABLE accounts (id VARCHAR, email VARCHAR, username VARCHAR, name VARCHAR, is_suspended BOOLEAN, level VARCHAR,
  role VARCHAR, is_admin BOOLEAN, is_instructor BOOLEAN, is_reporter BOOLEAN, is_affiliate BOOLEAN, tags VARCHAR[],
  fields STRUCT(company VARCHAR, cf_department VARCHAR), created DOUBLE, digest UBIGINT, valid_from INTEGER,
  valid_to INTEGER);
CREATE TABLE activity (id VARCHAR, last_login DOUBLE, nps_score INTEGER,
  utms STRUCT(fc_landing VARCHAR, lc_landing VARCHAR));
CREATE TABLE grants (id VARCHAR, kind VARCHAR, entitlement VARCHAR, valid_from INTEGER, valid_to INTEGER);
"""

USERS_NOW = """
CREATE TEMP TABLE users_now AS
SELECT *, hash((id, email, username, name, is_suspended, level, role, is_admin, is_instructor, is_reporter,
  is_affiliate, tags, fields, created)) AS digest FROM (
  SELECT u.id AS id, u.email AS email, u.username AS username, trim(u.first_name || ' ' || u.last_name) AS name,
    u.is_suspended AS is_suspended, u.role.level AS level, u.role.name AS role, u.is_admin AS is_admin,
    u.is_instructor AS is_instructor, u.is_reporter AS is_reporter, u.is_affiliate AS is_affiliate,
    list_sort(u.tags) AS tags, u.fields AS fields, u.created AS created, u.last_login AS last_login,
    u.nps_score AS nps_score, u.utms AS utms
  FROM (SELECT unnest(data) AS u FROM read_json('{users}', format = 'newline_delimited',
    columns = {{data: 'STRUCT({user})[]'}}, maximum_object_size = 16777216)))
"""

GRANTS_NOW = """
CREATE TEMP TABLE grants_now AS
SELECT DISTINCT id, kind, entitlement FROM (
  SELECT id, 'role' AS kind, role AS entitlement FROM users_now
  UNION ALL
  SELECT unnest(m.data).id, 'member', w.entitlement
  FROM (SELECT row_number() OVER () AS line, data FROM read_json('{members}', format = 'newline_delimited',
    columns = {{data: 'STRUCT(id VARCHAR)[]'}}, maximum_object_size = 16777216)) m
  JOIN (SELECT row_number() OVER () AS line, split_part(column1, '/', -2) AS entitlement
    FROM read_csv('{index}', header = false, delim = '\t', all_varchar = true)
    WHERE column1 LIKE '%/v2/user_groups/%') w USING (line)
  UNION ALL
  SELECT m.id, 'manager', g FROM (
    SELECT d.id AS g, unnest(d.group_managers) AS m FROM (SELECT unnest(data) AS d
      FROM read_json('{groups}', format = 'newline_delimited', maximum_object_size = 16777216,
        columns = {{data: 'STRUCT(id VARCHAR, group_managers STRUCT(id VARCHAR)[])[]'}})))
  UNION ALL
  SELECT id, 'assigned', 'role:' || role_id FROM read_json('{details}', format = 'newline_delimited',
    columns = {{id: 'VARCHAR', role_id: 'VARCHAR'}})
)
"""

FIRST = """
INSERT INTO accounts SELECT * EXCLUDE (last_login, nps_score, utms), 1, NULL FROM users_now;
INSERT INTO activity SELECT id, last_login, nps_score, utms FROM users_now;
INSERT INTO grants SELECT *, 1, NULL FROM grants_now;
"""

LATER = """
CREATE TEMP TABLE differ AS
  SELECT n.* FROM users_now n LEFT JOIN accounts a ON a.id = n.id AND a.valid_to IS NULL
  WHERE a.digest IS DISTINCT FROM n.digest;
UPDATE accounts SET valid_to = 2 WHERE valid_to IS NULL
  AND (id IN (SELECT id FROM differ) OR id NOT IN (SELECT id FROM users_now));
INSERT INTO accounts SELECT * EXCLUDE (last_login, nps_score, utms), 2, NULL FROM differ;
UPDATE activity SET last_login = n.last_login, nps_score = n.nps_score, utms = n.utms FROM users_now n
  WHERE activity.id = n.id AND (activity.last_login IS DISTINCT FROM n.last_login
    OR activity.nps_score IS DISTINCT FROM n.nps_score OR activity.utms IS DISTINCT FROM n.utms);
CREATE TEMP TABLE joined AS SELECT n.* FROM grants_now n ANTI JOIN (SELECT * FROM grants WHERE valid_to IS NULL) g
  ON g.id = n.id AND g.kind = n.kind AND g.entitlement = n.entitlement;
UPDATE grants SET valid_to = 2 WHERE valid_to IS NULL
  AND (id, kind, entitlement) NOT IN (SELECT (id, kind, entitlement) FROM grants_now);
INSERT INTO grants SELECT *, 2, NULL FROM joined;
"""


def poll(folder: Path, state: str, db: duckdb.DuckDBPyConnection) -> None:
    files = {place.file.partition(".")[0]: str(folder / place.file) for place in places(folder, state)}
    files |= {"index": str(folder / f"{state}.tsv"), "user": USER}
    db.execute("BEGIN")
    db.execute(USERS_NOW.format(**files))
    db.execute(GRANTS_NOW.format(**files))
    for statement in (FIRST if state == "first" else LATER).split(";\n"):
        db.execute(statement)
    db.execute("COMMIT")


def main() -> None:
    parser = argparse.ArgumentParser(description="One poll of the generated school by a DuckDB script.")
    parser.add_argument("state", choices=("first", "moved", "changed"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="as many as there are cores, unless given")
    asked = parser.parse_args()
    db = duckdb.connect(str(asked.database))
    if asked.threads:
        db.execute(f"SET threads = {asked.threads}")
    if asked.state == "first":
        db.execute(TABLES)
    began = time.perf_counter()
    poll(asked.folder, asked.state, db)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = {t: _count(db, t, "WHERE valid_to IS NULL") for t in ("accounts", "grants")}
    found |= {"versions": _count(db, "accounts", ""), "activity": _count(db, "activity", "")}
    db.close()
    print(json.dumps({"seconds": seconds, "mib": peak} | found))


def _count(db: duckdb.DuckDBPyConnection, table: str, where: str) -> int:
    found = db.execute(f"SELECT count(*) FROM {table} {where}").fetchone()
    assert found is not None
    return int(found[0])


if __name__ == "__main__":
    main()
