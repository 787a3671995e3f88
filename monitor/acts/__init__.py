"""EDGE: where people act on findings."""
