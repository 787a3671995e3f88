"""How fast, how small: ratios to a program that does the same and nothing more. `python -m benchmarks`; see README.md."""
