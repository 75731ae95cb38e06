"""Derivatives by differences."""


def fourth_order(f, x, move, h=1e-3):
    """The derivative of `f` at `x` along `move`, by central differences."""
    up, down, more, less = (f(x + c * h * move) for c in (1, -1, 2, -2))
    return (8 * (up - down) - (more - less)) / (12 * h)
