r"""Weight decay of both layers: the balance, the limit, and the crossover time.

Both layers decay at the same rate, $\dot W = -\partial L/\partial W - \gamma W$.
docs/beyond.md, section 1.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, finite_time, nearest_isometry
from .._task import Task
from .._xla import compiled
from .assumptions import cuts_through, is_task, isotropic_variance, refuse_cut
from .representations import Representations

OF_THRESHOLD = (
    "Derivatives of the soft-thresholded limit must be taken where no singular value "
    "of the task equals the weight decay, but one did. The limit has a kink there."
)


def decayed_balance(
    ts: Real[ArrayLike, "*times"],
    lmda: Real[ArrayLike, "*balance"],
    weight_decay: Real[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""The balance under weight decay, $\lambda e^{-2\gamma t}$.

    The gradients of any loss conserve $\Lambda = W_2^\top W_2 - W_1W_1^\top$, and the
    decay of both layers at the rate $\gamma$ shrinks it: $\dot\Lambda =
    -2\gamma\Lambda$, for any two layers of a linear network, balanced or not. The
    scales $l_1$ and $l_2$ of wide networks decay in the same way.

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `lmda`: the balance at time zero, of any shape: a scalar, or the matrix
      $W_2^\top W_2 - W_1W_1^\top$, (hidden, hidden).
    - `weight_decay`: $\gamma \ge 0$, in units of 1 / time, for inputs of any variance.

    **Returns:** the balance, with the axes of `ts` first.

    **Raises:** `ValueError` for negative times, and a weight decay that is negative,
    not finite or not a scalar (traced: NaN).

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    lmda = lr.theory.decayed_balance(jnp.array([0.0, 50.0]), -12.0, 0.02)
    print(lmda)  # -12, and -1.6
    ```
    """
    ts = _checks.as_times("ts", ts)
    lmda = _dtypes.as_real("lmda", lmda)
    decay = _checks.as_scalar("weight_decay", weight_decay)
    decay = _checks.positive("weight_decay", decay, zero=True)
    ts, lmda, decay = _dtypes.promoted(ts=ts, lmda=lmda, weight_decay=decay)
    factor = jnp.exp(-2 * decay * finite_time(ts))
    factor = factor.reshape(*ts.shape, *[1] * lmda.ndim)
    return lmda.reshape(*[1] * ts.ndim, *lmda.shape) * factor


def crossover_time(
    s: Real[ArrayLike, "*modes"],
    lmda: Real[ArrayLike, ""],
    weight_decay: Real[ArrayLike, ""],
) -> Float[Array, "*modes"]:
    r"""The time at which weight decay turns lazy learning into rich learning.

    A mode a learns at the rate $\sqrt{\lambda(t)^2 + 4a^2}$. Learning is lazy while the
    balance dominates it, $|\lambda(t)| > 2s$. With $\lambda(t) = \lambda e^{-2\gamma
    t}$ it does until

    $$t^* = \frac1{2\gamma}\ln\frac{|\lambda|}{2s},$$

    and never if $|\lambda| \le 2s$. Then the squared strengths of a learned mode in the
    two layers are $(\sqrt2 \pm 1)s$. Representations align with the task around
    this time, one mode after the other, the strongest first. The loss is learned
    earlier, at the rate $|\lambda|$, if $|\lambda| \gg 2\gamma$.

    **Arguments:**

    - `s`: singular values of the task's correlation, of any shape, non-negative, for
      white inputs. For inputs of variance c pass `s / c`, without any change of the
      balance, the weight decay or the time.
    - `lmda`: the balance at time zero, or `network.effective_laziness` of a wide
      network.
    - `weight_decay`: $\gamma \ge 0$, in units of 1 / time.

    **Returns:** the times in units of learning rate x step, of the shape of `s`. They
    are infinite for lazy learning without decay, and for `s = 0`.

    **Raises:** `ValueError` for negative or infinite values, and balances or decays
    that are not scalars (traced: NaN).

    ```python
    import lazyrich_jax as lr

    print(lr.theory.crossover_time(1.0, -12.0, 0.02))  # 44.8
    ```
    """
    s = _checks.positive("s", _dtypes.as_real("s", s), zero=True)
    lmda = _checks.finite("lmda", _checks.as_scalar("lmda", lmda))
    decay = _checks.as_scalar("weight_decay", weight_decay)
    decay = _checks.positive("weight_decay", decay, zero=True)
    s, lmda, decay = _dtypes.promoted(s=s, lmda=lmda, weight_decay=decay)
    nan = jnp.isnan(s + lmda + decay)
    rich = jnp.abs(lmda) <= 2 * s
    never = ~rich & ((s == 0) | (decay == 0))
    crosses = ~(rich | never | nan)

    def safe(x):
        return jnp.where(crosses, x, 1.0)

    time = jnp.log(jnp.abs(safe(lmda)) / (2 * safe(s))) / (2 * safe(decay))
    time = jnp.where(rich, 0.0, jnp.where(never, jnp.inf, time))
    return jnp.where(nan, jnp.nan, time)


def soft_thresholded_limit(
    task: Task, weight_decay: Real[ArrayLike, ""], hidden_size: int
) -> Representations:
    r"""The end of learning with weight decay: soft-thresholded singular values.

    The balance has decayed, and with $\Sigma = USV^\top$ and $\Sigma_{xx} = cI$

    $$W_2W_1 = U S_\gamma V^\top, \quad W_1^\top W_1 = V S_\gamma V^\top, \quad
    W_2W_2^\top = U S_\gamma U^\top, \quad S_\gamma = \max(S - \gamma, 0) / c.$$

    A bottleneck of `hidden` units keeps the largest `hidden` of these values. Modes
    with $s \le \gamma$ die. Every network of two layers that does not start at a saddle
    ends here, lazy or rich, balanced or not: the representations are those of rich
    learning. The function minimises the loss plus $\gamma$ times the sum of singular
    values (the nuclear norm), since $\gamma(|W_1|^2 + |W_2|^2)/2$ is at least that and
    equal to it at $\lambda = 0$ (Srebro et al. 2004).

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `weight_decay`: $\gamma > 0$, in units of 1 / time. (Without decay the balance
      remains, and `converged_representations` is the end.)
    - `hidden_size`: the number of hidden units.

    **Returns:** `Representations`. They are differentiable, also at repeated and zero
    singular values. Derivatives at a learned singular value that equals the weight
    decay are refused.

    **Raises:** `ValueError` for a weight decay that is not positive, anisotropic
    inputs, and a hidden size that cuts through equal singular values above the weight
    decay: the start decides which of them are learned. Traced bad values give NaN.

    ```python
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(3)
    end = lr.theory.soft_thresholded_limit(task, 0.05, 8)
    print(end.input_representation.shape)
    ```
    """
    is_task("task", task)
    hidden = _checks.size("hidden_size", hidden_size)
    decay = _checks.as_scalar("weight_decay", weight_decay)
    decay = _checks.positive("weight_decay", decay)
    noise = 4 * max(task.in_size, hidden, task.out_size) * _dtypes.rounding(task=task)
    task, decay = _dtypes.promoted(task=task, weight_decay=decay)
    variance = isotropic_variance(task, decay.dtype)
    sigma = task.input_output_correlation
    found, s, cut = _thresholded(sigma, decay, variance, hidden, noise)
    refuse_cut(cut, hidden, s)
    return found


@functools.partial(compiled, static_argnames=("hidden", "noise"))
def _thresholded(
    sigma: Float[Array, "out in"],
    decay: Float[Array, ""],
    variance: Float[Array, ""],
    hidden: int,
    noise: float,
) -> tuple[Representations, Float[Array, " smaller"], Bool[Array, ""]]:
    r"""The limit, the singular values, and whether equal ones are cut.

    The symmetric matrix of the correlation has the singular values and their negatives
    as eigenvalues. $QQ^\top$ is twice its part above `between`, less the decay.
    """
    n_out, n_in = sigma.shape
    s = jnp.linalg.svd(jax.lax.stop_gradient(sigma), compute_uv=False)
    cut = cuts_through(s, hidden, noise, least=decay)
    sigma = jnp.where(cut, jnp.nan, sigma)
    zeros = [jnp.zeros((n, n), sigma.dtype) for n in (n_in, n_out)]
    both = jnp.block([[zeros[0], sigma.mT], [sigma, zeros[1]]])
    kink = jnp.any(jnp.abs(s[:hidden] - decay) <= noise * s[0])
    both = _checks.refuse_derivative(both, kink, message=OF_THRESHOLD)
    decay = _checks.refuse_derivative(decay, kink, message=OF_THRESHOLD)
    between = decay
    if hidden < s.size:
        middle = (s[hidden - 1] + s[hidden]) / 2
        between = jnp.where(s[hidden] > decay - noise * s[0], middle, decay)
    eye = jnp.eye(n_in + n_out, dtype=sigma.dtype)
    # The polar factor is the sign.
    sign = nearest_isometry(both - jax.lax.stop_gradient(between) * eye)
    part = dot(eye + sign, both - decay * eye) / variance
    part = (part + part.mT) / 2
    found = Representations(part[n_in:, :n_in], part[:n_in, :n_in], part[n_in:, n_in:])
    return found, s, cut
