"""The same for many networks at many times, in blocks or in one loop of scalars."""
