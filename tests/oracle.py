r"""The exact flow of two-layer linear networks, in sufficiently many digits.

It evaluates $P(t) = e^{Ft} Q_0 [I + Q_0^\top G(t) Q_0]^{-1} Q_0^\top e^{Ft}$,
$G(t) = \int_0^t e^{2Fs} ds$, unchanged, from one mpmath eigendecomposition of F. It
shares no step with the library: it has no singular vectors and no choice of rows.
"""

from typing import Any

import mpmath as mp
import numpy as np

DIGITS = 40  # correct digits of the result
GAP = 80  # decades between modes; larger gaps do not change the result
SAME = mp.mpf("1e-13")  # relative gap of values that count as equal at infinity


def qqt(w1, w2, sigma, lmda, t, variance=1.0):
    """Q Q^T with Q = [W1^T; W2] at `t`, as a float64 array (times' axis first).

    The arguments are exact inputs: arrays of floats or of `mpf`. `w1` (hidden, in),
    `w2` (out, hidden), `sigma` (out, in) and the inputs' `variance` c are the task's
    and network's own, not yet rescaled; balance is assumed, not checked. `t` is a
    number or a list of them; infinity is allowed and is the limit.
    """
    return _evaluate(w1, w2, sigma, lmda, t, variance, _qqt).astype(float)


def balance(w1, w2):
    """The balance nearest to the weights, without rounding."""
    with mp.workdps(4 * DIGITS):
        v1, v2 = _exact(w1), _exact(w2)
        return np.trace(v2.T @ v2 - v1 @ v1.T) / len(v1)


def perturbed(x, size, rng):
    """`x` with a random change of about this relative norm, without rounding."""
    draw = rng.normal(size=x.shape) * size * np.linalg.norm(x) / x.size**0.5
    with mp.workdps(4 * DIGITS):
        return _exact(x) + _exact(draw)


def loss_excess(w1, w2, sigma, lmda, t, variance=1.0):
    """|W2 W1 - sigma / c|^2 c / 2: the loss above the best linear map's."""
    return _evaluate(w1, w2, sigma, lmda, t, variance, _excess).astype(float)


def slopes(w1, w2, sigma, t, changes, variance=1.0):
    """The derivatives of `qqt` and `loss_excess` along `changes` of (w1, w2, sigma, t).

    They are differences. The balance nearest to the weights changes with them.
    """
    step = mp.mpf(10) ** -(DIGITS // 2)

    def at(sign):
        with mp.workdps(4 * DIGITS):
            v1, v2, m, times = (
                _exact(x) + sign * step * _exact(dx)
                for x, dx in zip((w1, w2, sigma, t), changes, strict=True)
            )
            lmda = np.trace(v2.T @ v2 - v1 @ v1.T) / len(v1)
        return _evaluate(v1, v2, m, lmda, times, variance, _both)

    with mp.workdps(4 * DIGITS):
        slope = ((at(1) - at(-1)) / (2 * step)).astype(float)
    n = sum(np.shape(sigma))
    return slope[..., :-1].reshape(*np.shape(t), n, n), slope[..., -1]


def relative_error(found, expected):
    """The largest relative error in the Frobenius norm over matrices at times.

    Matrices below 1e-14 of the first one are compared relative to the first: such an
    end is zero up to the rounding of a balance.
    """
    found = np.asarray(found, float)
    assert np.all(np.isfinite(found))
    size = np.linalg.norm(expected, axis=(-2, -1))
    size = np.where(size > 1e-14 * size[0], size, size[0])
    distance = np.linalg.norm(found - expected, axis=(-2, -1))
    return float(np.max(distance / np.where(size > 0, size, 1)))


def _qqt(p, n_in, sigma, c):
    return np.array((p / c).tolist(), dtype=object)


def _excess(p, n_in, sigma, c):
    error = p[n_in:, :n_in] - sigma
    return np.array(mp.fsum(x * x for x in error) / (2 * c), dtype=object)


def _both(*solution):
    return np.append(_qqt(*solution), _excess(*solution))


def _exact(x):
    """An array of `mpf`."""
    return np.vectorize(mp.mpf, otypes=[object])(np.asarray(x))


def _evaluate(w1, w2, sigma, lmda, t, variance, quantity):
    """`quantity` of P at every time, as an array of `mpf`."""
    with mp.workdps(4 * DIGITS):
        times = [mp.mpf(x) for x in np.ravel(_exact(t))]
    with mp.workdps(2 * DIGITS):
        rates = _rates(sigma, lmda, variance)
        largest = max(abs(x) for t in times for x in _exponents(rates, t)[0])
        # Both the inverse and its factors need the digits of e^{2wt}.
        digits = int(2 * DIGITS + 4 * largest / mp.log(10))
    with mp.workdps(digits):
        rates, basis = _spectrum(sigma, lmda, variance)
        c, n_in = mp.mpf(variance), len(w1[0])
        q0 = mp.sqrt(c) * mp.matrix(np.concatenate([np.transpose(w1), w2]).tolist())
        rows = basis.T * q0
        results = []
        for time in times:
            exponents, gains = _exponents(rates, time)
            grown = mp.diag([mp.exp(x) for x in exponents]) * rows
            inner = mp.eye(rows.cols) + rows.T * mp.diag(gains) * rows
            p = basis * (grown * mp.inverse(inner) * grown.T) * basis.T
            value = quantity(p, n_in, mp.matrix(sigma.tolist()), c)
            results.append(value)
    return results[0] if np.ndim(t) == 0 else np.stack(results)


def _rates(sigma, lmda, variance):
    """The eigenvalues as of `_spectrum`, in double precision."""
    half = float(lmda) * float(variance) / 2
    s = np.linalg.svd(np.asarray(sigma, float), compute_uv=False)
    s[s < 1e-14 * s.max()] = 0
    n_out, n_in = sigma.shape
    signed = np.concatenate([s, np.zeros(n_out - s.size), -s, np.zeros(n_in - s.size)])
    sign = np.where(np.arange(n_out + n_in) < n_out, np.sign(half), -np.sign(half))
    sign = np.where(signed == 0, sign, np.sign(signed))
    values = sign * np.hypot(signed, half)
    return [(mp.mpf(x), mp.mpf(y)) for x, y in zip(signed, values, strict=True)]


def _spectrum(sigma, lmda, variance):
    """The eigenvalues, as pairs (s with the eigenvalue's sign, itself), and vectors."""
    n_out, n_in = sigma.shape
    half = mp.mpf(lmda) * mp.mpf(variance) / 2
    f = mp.diag([-half] * n_in + [half] * n_out)
    for i in range(n_out):
        for j in range(n_in):
            f[n_in + i, j] = f[j, n_in + i] = mp.mpf(sigma[i, j])
    values, basis = mp.eigsy(f)
    signed = [mp.sign(w) * mp.sqrt(max(w * w - half**2, 0)) for w in values]
    # Eigenvalues at the level of the working precision are zero.
    noise = max(abs(w) for w in values) * mp.mpf(10) ** (6 - mp.mp.dps)
    values = [w if abs(w) > noise else mp.mpf(0) for w in values]
    noise *= mp.mpf(10) ** (mp.mp.dps // 2)
    signed = [s if abs(s) > noise else mp.mpf(0) for s in signed]
    return list(zip(signed, values, strict=True)), basis


def _exponents(rates, t):
    """w t and (e^{2wt} - 1) / 2w of every mode, with gaps cut at `GAP` decades.

    If e^{-gap} is below the result's precision, P depends only on the order of modes,
    not on the gap. The cut makes t = infinity (and rate * t = 1e10) affordable.
    """
    cap = GAP * mp.log(10)
    top = max(abs(s) for s, _ in rates)
    order = sorted(range(len(rates)), key=lambda i: rates[i][1])
    exponents: list[Any] = [mp.mpf(0)] * len(rates)
    for sign in (1, -1):
        x, last_s, last_w = mp.mpf(0), None, mp.mpf(0)
        for i in order[::sign]:
            s, w = rates[i]
            if w * sign <= 0:
                continue
            if t != mp.inf:
                gap = abs(w - last_w) * t
            elif last_s is None:
                gap = cap if top == 0 or abs(w) > SAME * top else 0
            else:
                gap = cap if abs(s - last_s) > SAME * top else 0
            x += min(gap, cap)
            last_s, last_w = s, w
            exponents[i] = sign * x
    still = mp.mpf(10) ** (GAP // 2) if t == mp.inf else t
    gains = [
        mp.expm1(2 * x) / (2 * w) if x else still
        for x, (_, w) in zip(exponents, rates, strict=True)
    ]
    return exponents, gains
