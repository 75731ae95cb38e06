"""The solution for many networks at many times, in blocks or in one scalar loop."""
