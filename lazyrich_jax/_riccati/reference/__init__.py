"""One network at one time, as docs/theory.md writes it."""
