"""What an operator types, one module a group of commands."""

from monitor.cli.app import main

__all__ = ["main"]
