"""Memory and text of compiled programs, on platforms that report them."""


def memory(function, *args):
    """The memory that a jitted function takes for such arguments."""
    analysis = function.lower(*args).compile().memory_analysis()
    assert analysis is not None
    return analysis


def text(function, *args):
    """The program of a jitted function for such arguments."""
    program = function.lower(*args).compile().as_text()
    assert program is not None
    return program
