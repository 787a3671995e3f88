"""EDGE: rule files on disk."""
