"""The steps of the line, one module each, in the order of cycle.py."""
