"""access-monitor: watches who can do what, remembers it, and says when it should not be so."""

__version__ = "0.1.0"
