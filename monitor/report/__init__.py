"""EDGE: what people read in a browser or on paper. Plain values in, text out; nothing here reads a database."""
