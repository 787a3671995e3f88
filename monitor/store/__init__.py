"""EDGE: the database. Nothing outside this folder knows a table."""
