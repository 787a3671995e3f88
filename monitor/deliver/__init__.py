"""EDGE: how it is said and how it gets there. One channel, one file."""
