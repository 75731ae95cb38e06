"""Refusals of the applications, before any computation."""

import importlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import lazyrich_jax as lr

app: Any = lr.applications  # for arguments that its annotations refuse
INF, NAN = jnp.inf, jnp.nan
KEY = jax.random.key(0)

TASK = lr.Task(2.0 * jnp.eye(3), jnp.ones((3, 2)))
OTHER = lr.Task(jnp.eye(4), jnp.ones((4, 2)))
NETWORK = lr.LambdaBalanced(1.0)(3, 2, 2, key=KEY)
WIDE = lr.LambdaBalanced()(3, 3, 2, key=KEY)  # allows no positive balance
FLOW = lr.GradientFlow()


def continual(
    network: Any = NETWORK, tasks=(TASK, TASK), durations: Any = 1.0, **options
):
    return app.continual(network, tasks, durations, **options)


def staged(verb, network=NETWORK, lmda=(0.0, 1.0), more=None, **options):
    default = {"finetune": (TASK,), "transfer": (TASK,), "new_attribute": (0,)}
    more = default.get(verb, ()) if more is None else more
    options = {"duration": 1.0, "ts": [0.0, 1.0], **options}
    return getattr(app, verb)(network, TASK, *more, list(lmda), **options)


CASES = {
    "no tasks": (lambda: continual(tasks=()), "`tasks` must hold at least one"),
    "other task": (
        lambda: continual(tasks=(TASK, TASK, OTHER)),
        r"`tasks\[2\]` must have the 3 inputs and 2 outputs of `tasks\[0\]`, but it "
        "had 4 inputs and 2",
    ),
    "number of durations": (
        lambda: continual(durations=[1.0, 2.0, 3.0]),
        r"`durations` must be one number or one for each of 2 tasks.*\(3,\)",
    ),
    "zero duration": (
        lambda: continual(durations=[1.0, 0.0]),
        r"`durations\[1\]` must be positive and finite, but it was 0.0",
    ),
    "infinite durations": (
        lambda: continual(durations=INF),
        "`durations` must be positive and finite, but it was inf",
    ),
    "points": (lambda: continual(points=1), "`points` must be .* at least 2.* was 1"),
    "deep": (
        lambda: continual(lr.Gaussian(1.0)(3, 2, 2, 2, key=KEY)),
        "`network` must have two layers, but it had 3",
    ),
    "fit": (
        lambda: continual(lr.LambdaBalanced()(4, 2, 2, key=KEY)),
        "`network` must have the task's 3 inputs",
    ),
    "scalar balance": (
        lambda: app.reversal(NETWORK, TASK, 1.0, duration=1.0, ts=[1.0]),
        r"`lmda` must be a vector of at least one balance, but its shape was \(\)",
    ),
    "no balance": (lambda: staged("reversal", lmda=()), r"`lmda` must .* was \(0,\)"),
    "nan balance": (
        lambda: staged("reversal", lmda=(0.0, NAN)),
        "`lmda` must be finite, but it was nan at index \\(1,\\)",
    ),
    "times": (
        lambda: staged("transfer", ts=[1.0, 0.0]),
        "`ts` must be .*non-decreasing",
    ),
    "infinite times": (
        lambda: staged("finetune", ts=[1.0, INF], dynamics=FLOW),
        "`ts` must be non-negative and finite",
    ),
    "scalar time": (lambda: staged("reversal", ts=1.0), "`ts` must be a vector"),
    "tolerance": (
        lambda: staged("reversal", tolerance=1.0),
        "`tolerance` must be more than 0 and less than 1, but it was 1.0",
    ),
    "no tolerance": (lambda: staged("finetune", tolerance=0), "`tolerance` .* was 0.0"),
    "late item": (
        lambda: staged("new_attribute", more=(3,)),
        "`item` must be less than the number of samples, 3, but it was 3",
    ),
    "early item": (
        lambda: staged("new_attribute", more=(-1,)),
        "`item` must be an integer of at least 0, but it was -1",
    ),
    "shared": (
        lambda: app.related_task(TASK, 1.5, key=KEY),
        "`shared` must be at least 0 and at most 1, but it was 1.5",
    ),
    "nan shared": (lambda: app.related_task(TASK, NAN, key=KEY), "`shared` .* was nan"),
    "rank": (
        lambda: app.low_rank_change(TASK, 3, key=KEY),
        "`rank` must be at most 2 for 3 inputs and 2 outputs, but it was 3",
    ),
    "no rank": (
        lambda: app.low_rank_change(TASK, 0, key=KEY),
        "`rank` must be an integer of at least 1, but it was 0",
    ),
    "scale": (
        lambda: app.low_rank_change(TASK, 1, -1.0, key=KEY),
        "`scale` must be finite and positive, but it was -1.0",
    ),
    "span": (
        lambda: app.related_task(lr.Task(jnp.ones((3, 2)), jnp.eye(3)), 0.5, key=KEY),
        "`task` must have inputs that span every direction",
    ),
}
for verb in ("reversal", "transfer", "finetune", "new_attribute"):

    def duration(value, verb=verb, **options):
        return lambda: staged(verb, duration=value, **options)

    def wide(verb=verb):
        return staged(verb, WIDE, lmda=(-1.0, 0.0, 2.0))

    CASES |= {
        f"{verb} {value} long": (
            duration(value),
            f"`duration` must be positive, but it was {value}",
        )
        for value in (0.0, -1.0, NAN)
    }
    CASES[f"{verb} endless flow"] = (
        duration(INF, dynamics=FLOW),
        "`duration` must be positive and finite, but it was inf",
    )
    CASES[f"{verb} sign"] = (
        wide,
        r"`lmda\[2\]` must not be positive for sizes 3-3-2, but it was 2.0",
    )
for verb in ("transfer", "finetune"):
    CASES[f"{verb} sizes"] = (
        lambda verb=verb: staged(verb, more=(OTHER,)),
        "`second` must have the 3 inputs and 2 outputs of `task`, but it had 4 inputs",
    )


@pytest.mark.parametrize("case", CASES)
def test_refused(untyped, monkeypatch, case):
    for room in ("stages", "continual", "attribute", "transfer"):
        module = importlib.import_module(f"lazyrich_jax.applications.{room}")
        monkeypatch.setattr(module, "learn", None)  # refusals come before learning
    call, message = CASES[case]
    with pytest.raises(ValueError) as error:
        call()
    assert re.search(message, str(error.value))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: continual(TASK), "`network` must be a `LinearNetwork`"),
        (lambda: continual(tasks=(TASK, NETWORK)), r"`tasks\[1\]` must be a `Task`"),
        (lambda: continual(dynamics="exact"), "`dynamics` must be a"),
        (lambda: staged("transfer", more=(NETWORK,)), "`second` must be a `Task`"),
        (lambda: app.related_task(NETWORK, 0.5, key=KEY), "`task` must be a `Task`"),
    ],
)
def test_wrong_types(untyped, call, message):
    with pytest.raises(TypeError, match=message):
        call()
