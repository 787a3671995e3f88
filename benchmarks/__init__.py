"""How fast, how small: ratios to a program that does the same and nothing more. See README.md."""
