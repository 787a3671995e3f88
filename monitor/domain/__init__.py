"""NAMES: plain frozen values. Imports the standard library and nothing else."""
