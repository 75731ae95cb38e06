"""Options of `lazyrich fit`, and the experiments that they describe."""

import argparse
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._task import Task
from ..inference import AbstractNoise, Additive, Counts, Experiment, Relative
from ..inference.learner import MODELS, PARAMETERS, has_law_of_steps
from ..inference.observables import OBSERVABLES
from .table import Table

# Tried where neither sizes nor a task are given: one, two, three modes, and one mode
# above a loss that the network cannot learn.
MODES = (1, 1, 1), (2, 1, 2), (2, 2, 2), (3, 3, 3)


class Question(NamedTuple):
    """An experiment, and what is asked of it."""

    experiment: Experiment
    unknown: tuple[str, ...]
    bounds: Mapping[str, tuple[float, float]]


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the fit."""
    command.add_argument("data", metavar="DATA", help="the table (CSV)")
    command.add_argument(
        "--sizes",
        metavar="IN-HIDDEN-OUT",
        help="sizes of the network, such as 3-2-2; without a task, its strengths are "
        "unknown (default: the best of "
        f"{', '.join('-'.join(map(str, m)) for m in MODES)})",
    )
    command.add_argument(
        "--task", metavar="FILE", help="the task: NPZ file of x (items, in) and y"
    )
    command.add_argument(
        "--unknown",
        nargs="+",
        metavar="NAME",
        help=f"the numbers to fit, some of {', '.join(PARAMETERS)} (default: the "
        "balance, the scale and what is not given otherwise)",
    )
    command.add_argument(
        "--known",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="numbers that are known, such as scale=0.1 or task_strengths=2,1",
    )
    command.add_argument(
        "--bounds",
        nargs="+",
        default=[],
        metavar="NAME=LOW:HIGH",
        help="ranges of unknown numbers, such as lmda=0:inf",
    )
    command.add_argument(
        "--learning-rate",
        type=float,
        metavar="ETA",
        help="turns steps into times, with the law of finite steps for aligned starts "
        "(default: unknown)",
    )
    command.add_argument(
        "--noise",
        nargs="+",
        default=[],
        metavar="[NAME=]LAW[:LEVEL]",
        help="law of noise of all observables or of one: additive, relative, counts "
        "(of TRIALS for the accuracy), such as relative:0.02 or "
        "function=additive:0.01 (default: additive, of unknown level)",
    )
    command.add_argument(
        "--start",
        choices=("aligned", "any"),
        default="aligned",
        help="the start function: that of the task's modes, or unknown "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--model", choices=tuple(MODELS), default="balanced", help="the theory"
    )
    command.add_argument(
        "--out",
        metavar="DIR",
        default="fit",
        help="where to write (default: %(default)s)",
    )


def questions(options: argparse.Namespace, table: Table) -> list[Question]:
    """One experiment, or several to choose from.

    **Raises:** `ValueError` for options that don't fit together or the table.
    """
    if options.task is not None:
        task = _task(Path(options.task))
        sizes = None if options.sizes is None else _sizes(options.sizes)
        if sizes is not None and (sizes[0], sizes[2]) != (task.in_size, task.out_size):
            raise ValueError(
                f"`--sizes` must fit the task, {task.in_size}-HIDDEN-{task.out_size}, "
                f"but it was {options.sizes}."
            )
        return [_question(options, table, task, None if sizes is None else sizes[1])]
    with_frames = [n for n in table.observables if OBSERVABLES[n].frames]
    if with_frames:
        raise ValueError(
            f"`--task` must be given for the {with_frames[0]}, but it was not."
        )
    with_shape = [n for n in table.observables if OBSERVABLES[n].shape((2, 2), 2)]
    if options.sizes is None and with_shape:
        raise ValueError(
            f"`--sizes` must be given for {with_shape[0]}, but it was not."
        )
    many = MODES if options.sizes is None else (_sizes(options.sizes),)
    return [_question(options, table, sizes, None) for sizes in many]


def _question(
    options: argparse.Namespace,
    table: Table,
    task: Task | tuple[int, int, int],
    hidden_size: int | None,
) -> Question:
    known = dict(_pair("--known", text, "VALUE", _numbers) for text in options.known)
    if isinstance(known.get("task_strengths"), float):  # of one mode
        known["task_strengths"] = [known["task_strengths"]]
    if options.learning_rate is not None:
        if table.clock == "time":
            raise ValueError(
                "`--learning-rate` must be left out for a column of times, but it was "
                f"{options.learning_rate:g}."
            )
        known["rate"] = options.learning_rate
    names = {*known, *(options.unknown or ())}
    experiment = Experiment(
        task,
        table.times,
        observe=table.observables,
        noise=_laws(options.noise, table.observables),
        hidden_size=hidden_size,
        start=options.start,
        model=options.model,
        steps=options.learning_rate is not None
        and has_law_of_steps(options.start, options.model, table.observables, names),
        **known,
    )
    unknown = options.unknown or _unknown(experiment, table.clock, known, task)
    bounds = dict(_pair("--bounds", x, "LOW:HIGH", _range) for x in options.bounds)
    return Question(experiment, tuple(unknown), bounds)


def _unknown(
    experiment: Experiment, clock: str, known: Mapping[str, Any], task: Any
) -> list[str]:
    """What is unknown by default: all that neither the options nor the model give."""
    start = "scale" if experiment.start == "aligned" else "function"
    names = {
        "balanced": ["lmda", start],
        "wide": ["mu", start],  # functions depend on lmda**2 / 4 + mu**2 alone
        "shallow": [start],
        "lazy": [start, "rate"],
    }[experiment.model]
    if clock == "step" and "rate" not in names:
        names.append("rate")
    if not isinstance(task, Task):
        names.append("task_strengths")
    left = [name for name in names if name not in known]
    if not left:
        raise ValueError(
            f"`--known` must leave some of {', '.join(names)} unknown, but it had all."
        )
    return left


def _task(path: Path) -> Task:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ValueError(
            f"`--task` must be a file that can be read, but {str(path)!r} can't: "
            f"{error.strerror or error}."
        ) from error
    with file:
        if not zipfile.is_zipfile(file):
            raise ValueError(
                f"`--task` must be an NPZ file of x and y, but {str(path)!r} is none."
            )
        file.seek(0)
        arrays = np.load(file, allow_pickle=False)
        if not {"x", "y"} <= set(arrays):
            raise ValueError(
                f"`--task` must be an NPZ file of x and y, but {str(path)!r} had "
                f"{sorted(arrays)}."
            )
        return Task(arrays["x"], arrays["y"])


def _sizes(text: str) -> tuple[int, int, int]:
    parts = text.split("-")
    if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise ValueError(
            f"`--sizes` must be IN-HIDDEN-OUT, such as 3-2-2, but it was {text!r}."
        )
    return int(parts[0]), int(parts[1]), int(parts[2])


def _pair(option: str, text: str, form: str, read) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name not in PARAMETERS:
        raise ValueError(
            f"`{option}` must be NAME={form} with a name of {', '.join(PARAMETERS)}, "
            f"but it was {text!r}."
        )
    try:
        return name, read(value)
    except ValueError as error:
        raise ValueError(
            f"`{option}` must be NAME={form}, but it was {text!r}."
        ) from error


def _numbers(text: str) -> float | list[float]:
    values = [float(x) for x in text.split(",")]
    return values if len(values) > 1 else values[0]


def _range(text: str) -> tuple[float, float]:
    low, high = (float(x) for x in text.split(":"))
    if math.isnan(low) or math.isnan(high):
        raise ValueError(text)
    return low, high


def _laws(given: Sequence[str], observe: Sequence[str]) -> list[AbstractNoise]:
    """A law for each observable; a later one replaces an earlier."""
    laws: dict[str, AbstractNoise] = {
        name: Counts() if name == "choices" else Additive() for name in observe
    }
    for text in given:
        name, equals, law = text.rpartition("=")
        names = (name,) if equals else tuple(n for n in observe if n != "choices")
        if not set(names) <= set(observe):
            raise ValueError(
                f"`--noise` must name one of {', '.join(observe)}, but it was {text!r}."
            )
        laws |= dict.fromkeys(names, _law(law, text))
    return list(laws.values())


def _law(law: str, text: str) -> AbstractNoise:
    kind, colon, level = law.partition(":")
    try:
        if kind == "additive":
            return Additive(float(level) if colon else None)
        if kind == "relative":
            return Relative(float(level) if colon else None)
        if kind == "counts":
            return Counts(int(level) if colon else None)
        raise ValueError(kind)
    except ValueError as error:
        raise ValueError(
            "`--noise` must be additive, relative or counts, with a positive level "
            f"after a colon if it is known, but it was {text!r}."
        ) from error
