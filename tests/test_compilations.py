"""Public functions are a few programs, not one for each of their operations."""

import jax
import numpy as np
import pytest

import lazyrich_jax as lr

KEY = jax.random.key(0)
X, Y, W1, W2 = (
    np.random.default_rng(0).normal(size=s) for s in ((13, 7), (13, 6), (5, 7), (6, 5))
)


# Of shapes that no other test has. Arguments are converted by programs of their own.
@pytest.mark.parametrize(
    "call, most",
    [
        (lambda: lr.LinearNetwork((W1, W2)).rebalanced(0.5), 8),
        (lambda: lr.Gaussian(0.5)(7, 5, 5, 5, 6, key=KEY), 8),
        (lambda: lr.Task.random_regression(7, 6, 13, key=KEY), 8),
        (lambda: lr.applications.related_task(lr.Task(X, Y), 0.5, key=KEY), 14),
        (lambda: lr.applications.low_rank_change(lr.Task(X, Y), 2, key=KEY), 13),
    ],
    ids=["rebalanced", "Gaussian", "regression", "related", "low rank"],
)
def test_few_programs(call, most, caplog):
    with jax.log_compiles():
        call()
    programs = [r for r in caplog.messages if r.startswith("Compiling ")]
    assert 0 < len(programs) <= most
