"""Profile-likelihood intervals where the data leave a number without an end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference

UNKNOWN = ("lmda", "scale", "rate")


@pytest.mark.filterwarnings("ignore:The sign of lmda")
def test_unbounded_ends_do_not_depend_on_the_unit_of_the_data():
    """In the lazy branch the range of the balance ends the rate's path, not the data.

    The level of noise is unknown and small.
    """
    task = lr.Task.random_regression(2, 2, 20, key=jax.random.key(1))
    start = lr.LambdaBalanced()(2, 2, 2, key=jax.random.key(0)).function
    made = inference.Experiment(
        task, jnp.linspace(0, 8, 40), start=start, noise=inference.Additive()
    )
    clean = np.asarray(made.predict(lmda=400.0, scale=0.3, rate=0.002))
    data = clean + 1e-4 * np.random.default_rng(0).normal(size=40)
    fit = inference.fit(made, data, UNKNOWN, starts=8)
    ends = fit.intervals()
    assert ends["lmda"][-1][1] == np.inf
    assert ends["rate"][0][0] == 0.0
    assert np.isfinite(ends["rate"][-1][1])
    low, high = ends["scale"][0]
    assert low < 0.3 < high < 0.31
