"""The solution of one network at one time, in the formulas of docs/theory.md."""
