"""The description of a training by theory, as numbers and as text."""

import equinox as eqx
from jaxtyping import Array, Float

from .. import _checks
from .._exactness import exactness_tolerance
from .._network import LinearNetwork
from .._task import Task
from .balance import PairBalance
from .gaps import QUANTITIES, Gaps


class Description(eqx.Module):
    r"""How well theory describes a training, from `describe`. It prints itself.

    **Attributes:**

    - `time`: the time of the trained network, learning rate x steps.
    - `task`, `start`: the task and the start weights, in the directions that the inputs
      span; the other directions change nothing.
    - `in_size`: the number of inputs; `task.in_size` is the number of directions kept.
    - `balance`: the `PairBalance` of `start`, with `lmda`, `residual`, `l_minus` and
      `l_plus`.
    - `kind`: the class of the start weights, "balanced", "wide" or "neither".
    - `wide_residual`: the distance from the wide class, over $|W_1|^2 + |W_2|^2$; None
      for fewer hidden units than inputs and outputs.
    - `rounding`: the largest residual of either class that counts as rounding.
    - `law`: the closed form, "Exact" or "WideLimit"; None if an assumption fails.
    - `failing`: the assumptions that fail, in words.
    - `estimate`: for `WideLimit`, the estimated error of the function over its size.
    - `drift`: $|L(t) - L(0)|_F / (|W_1|^2 + |W_2|^2)$ of the balance L from the start
      to the trained network. Gradient flow conserves L. Steps that are large, momentum,
      Adam and weight decay do not.
    - `theory_and_flow`: the `Gaps` of the closed form from the flow of the same start
      weights, over time; None without `law`.
    - `theory_and_trained`, `flow_and_trained`: the `Gaps` of both from the trained
      network, at its time.
    - `checked`: whether the models' outputs were compared with the product of their
      matrices. Without a function to call they were not.
    """

    time: Float[Array, ""]
    task: Task
    start: LinearNetwork
    in_size: int = eqx.field(static=True)
    balance: PairBalance
    kind: str = eqx.field(static=True)
    wide_residual: Float[Array, ""] | None
    rounding: Float[Array, ""]
    law: str | None = eqx.field(static=True)
    failing: tuple[str, ...] = eqx.field(static=True)
    estimate: Float[Array, ""] | None
    drift: Float[Array, ""]
    theory_and_flow: Gaps | None
    theory_and_trained: Gaps | None
    flow_and_trained: Gaps
    checked: bool = eqx.field(static=True)

    def __str__(self) -> str:
        """The assumptions, the gaps and one sentence on the largest."""
        return "\n".join([*_head(self), *_table(self), _reading(self)])


def _head(it: Description) -> list[str]:
    task, sizes = it.task, (it.in_size, *it.start.sizes[1:])
    isotropic = task.anisotropy <= exactness_tolerance(task.x.dtype)
    rank = f"rank {task.in_size} of {it.in_size}"
    wide = ""
    if it.wide_residual is not None:
        wide = f", {float(it.wide_residual):.3g} off the wide class"
    lines = [
        f"Description of a {_checks.sizes_text(sizes)} network, {task.samples} "
        f"samples, time 0 to {float(it.time):.4g}, {task.x.dtype.name}",
        f"  inputs: {rank}, {'isotropic' if isotropic else 'not isotropic'} "
        f"(anisotropy {float(task.anisotropy):.3g}, variance "
        f"{float(task.input_variance):.4g})",
        f"  weights: {it.kind} (lambda {float(it.balance.lmda):.4g}, "
        f"{float(it.balance.residual):.3g} of |W1|^2 + |W2|^2 off balance{wide}; at "
        f"most {float(it.rounding):.2g} is rounding), l- "
        f"{float(it.balance.l_minus) + 0.0:.4g}, l+ {float(it.balance.l_plus):.4g}",
        f"  drift of the balance in training: {float(it.drift):.3g} of |W1|^2 + "
        "|W2|^2 (gradient flow conserves it)",
    ]
    if it.law is None:
        lines.append("  theory: no closed form applies")
    elif it.estimate is None:
        lines.append(f"  theory: {it.law}")
    else:
        lines.append(
            f"  theory: {it.law}, whose estimate of its own error is "
            f"{float(it.estimate):.2g} of the function"
        )
    lines += [f"  {line}" for line in it.failing]
    if not it.checked:
        lines.append(
            "  The model could not be called: that it is linear was not checked."
        )
    return lines


def _table(it: Description) -> list[str]:
    columns = {
        "theory-flow": it.theory_and_flow,
        "theory-trained": it.theory_and_trained,
        "flow-trained": it.flow_and_trained,
    }
    columns = {name: gaps for name, gaps in columns.items() if gaps is not None}
    first = "  gap over the change since the start"
    lines = [first + "".join(f"{name:>16}" for name in columns)]
    for name, words in QUANTITIES.items():
        values = (float(getattr(gaps, name)) for gaps in columns.values())
        row = f"    {words}".ljust(len(first))
        lines.append(row + "".join(f"{value:16.3g}" for value in values))
    return lines


def _reading(it: Description) -> str:
    gaps, who = it.theory_and_trained, "The theory"
    if gaps is None:
        gaps, who = it.flow_and_trained, "Gradient flow"
    name, value = gaps.worst()
    return (
        f"  {who} describes the training to {value:.2g} of its change, at worst in "
        f"the {name}. Agreement of the loss alone is no evidence."
    )
