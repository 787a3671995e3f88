"""The systems we read, one module each: fetch (I/O), then normalise (pure). Sources are only ever read."""
