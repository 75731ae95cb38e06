"""Programs of JAX: their equations, and what their outputs depend on."""

from collections.abc import Iterator, Sequence

import jax.extend


def inner(equation: jax.extend.core.JaxprEqn) -> list[jax.extend.core.ClosedJaxpr]:
    """The programs inside an equation, such as the body of a loop."""
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, jax.extend.core.ClosedJaxpr):
                found.append(item)
            elif isinstance(item, jax.extend.core.Jaxpr):
                found.append(jax.extend.core.ClosedJaxpr(item, ()))
    return found


def equations(
    program: jax.extend.core.Jaxpr,
) -> Iterator[jax.extend.core.JaxprEqn]:
    """All equations of a program, also of the programs inside."""
    for equation in program.eqns:
        yield equation
        for inside in inner(equation):
            yield from equations(inside.jaxpr)


def reached(program: jax.extend.core.Jaxpr, inputs: Sequence[bool]) -> list[bool]:
    """Which outputs may depend on the inputs that are marked.

    Those that are not marked do not depend on them.
    """
    marked = {v for v, mark in zip(program.invars, inputs, strict=True) if mark}

    def is_marked(variable: object) -> bool:
        literal = isinstance(variable, jax.extend.core.Literal)
        return not literal and variable in marked

    for equation in program.eqns:
        marks = [is_marked(v) for v in equation.invars]
        if not any(marks):
            continue
        outputs, bodies = [True] * len(equation.outvars), inner(equation)
        is_call = len(bodies) == 1 and equation.primitive.name != "scan"
        if is_call and len(bodies[0].jaxpr.invars) == len(marks):
            outputs = reached(bodies[0].jaxpr, marks)
        marked |= {v for v, m in zip(equation.outvars, outputs, strict=True) if m}
    return [is_marked(variable) for variable in program.outvars]
