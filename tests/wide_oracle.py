r"""The exact flow of wide two-layer networks, in sufficiently many digits.

The class is $PJP = -\lambda P + \mu^2 J$ for $P = QQ^\top$, $Q = [W_1^\top; W_2]$ and
$J = \mathrm{diag}(I, -I)$. With $l_+$ the output scale, $-l_-$ the input scale,
$\lambda = l_+ + l_-$ and $\mu^2 = -l_+l_-$ its flow is
$dP/dt = FP + PF - P^2 + \mu^2 I$, $F = S - \lambda J/2$. P is $YZ^{-1}$ for the linear
Hamiltonian system $[Y; Z]' = H [Y; Z]$, $H = [F, \mu^2 I; I, -F]$, from $[P(0); I]$.
Since $H^2 = \mathrm{diag}(K^2, K^2)$, $K^2 = F^2 + \mu^2 I$, its exponential is
$\cosh(Kt) + H \sinh(Kt)/K$. The growing part of $YZ^{-1}$ is removed by hand:

$$P = F + K + E X (I + \tfrac{1 - E^2}{2K} X)^{-1} E, \quad X = P(0) - F - K,
\quad E = e^{-Kt}.$$

`test_wide_oracle` compares it with the exponential of H itself.
"""

import mpmath as mp
import numpy as np

DIGITS = 120  # differences of 1e-9 and 1e4, and their squares and inverses, fit in


def qqt(start, sigma, input_scale, output_scale, t, variance=1.0):
    """P at `t`, as a float64 array (times' axis first).

    The arguments are exact inputs: arrays of floats or of `mpf`. `start` is P(0), as
    `member` or `of_weights` give it, `sigma` (out, in) and the inputs' `variance` the
    task's own. Membership of the class is assumed, not checked. `t` is a number or an
    array of them; infinity is allowed.
    """
    with mp.workdps(DIGITS):
        c = mp.mpf(variance)
        plus, minus = c * mp.mpf(output_scale), -c * mp.mpf(input_scale)
        f = _drift(sigma, plus + minus)
        p, n = c * _matrix(start), f.rows
        rates, basis = mp.eigsy(f * f - plus * minus * mp.eye(n))
        rates = [mp.sqrt(x) for x in rates]
        end = f + basis * mp.diag(rates) * basis.T
        x = basis.T * (p - end) * basis
        found = []
        for time in np.ravel(t):
            decay = [mp.exp(-k * mp.mpf(time)) if time else mp.mpf(1) for k in rates]
            gain = [(1 - e * e) / (2 * k) for e, k in zip(decay, rates, strict=True)]
            inner = mp.inverse(mp.eye(n) + mp.diag(gain) * x)
            change = mp.diag(decay) * x * inner * mp.diag(decay)
            value = (end + basis * change * basis.T) / c
            found.append(np.array(value.tolist(), dtype=float))
    return np.reshape(found, (*np.shape(t), n, n))


def member(function, input_scale, output_scale):
    r"""The P of the class with a function A (out, in), as an array of `mpf`.

    $P = [\sqrt{A^\top A + c^2} - \lambda/2, A^\top; A, \sqrt{AA^\top + c^2} +
    \lambda/2]$ with $2c = l_+ - l_-$.
    """
    with mp.workdps(DIGITS):
        plus, minus = mp.mpf(output_scale), -mp.mpf(input_scale)
        c, half = (plus - minus) / 2, (plus + minus) / 2
        a = _matrix(function)
        blocks = [
            [_root(a.T * a + c**2 * mp.eye(a.cols)) - half * mp.eye(a.cols), a.T],
            [a, _root(a * a.T + c**2 * mp.eye(a.rows)) + half * mp.eye(a.rows)],
        ]
        return np.block([[np.array(x.tolist(), object) for x in r] for r in blocks])


def of_weights(w1, w2):
    """The P of weights, without rounding."""
    with mp.workdps(DIGITS):
        q = _matrix(np.concatenate([np.transpose(w1), w2]))
        return np.array((q * q.T).tolist(), object)


def by_exponential(start, sigma, input_scale, output_scale, t):
    """P at one time by the exponential of H, for `qqt` to be compared with."""
    with mp.workdps(2 * DIGITS):
        plus, minus = mp.mpf(output_scale), -mp.mpf(input_scale)
        f = _drift(sigma, plus + minus)
        n = f.rows
        h = mp.zeros(2 * n)
        h[:n, :n], h[n:, n:] = f, -f
        h[:n, n:], h[n:, :n] = -plus * minus * mp.eye(n), mp.eye(n)
        grown = mp.expm(h * mp.mpf(t), method="taylor")
        p = _matrix(start)
        y = grown[:n, :n] * p + grown[:n, n:]
        z = grown[n:, :n] * p + grown[n:, n:]
        return np.array((y * mp.inverse(z)).tolist(), dtype=float)


def _drift(sigma, lmda):
    """F = S - lambda J / 2."""
    n_out, n_in = np.shape(sigma)
    f = mp.diag([-lmda / 2] * n_in + [lmda / 2] * n_out)
    f[n_in:, :n_in] = _matrix(sigma)
    f[:n_in, n_in:] = _matrix(sigma).T
    return f


def _matrix(x):
    array = np.asarray(x)
    return mp.matrix(array if array.dtype == object else array.astype(float).tolist())


def _root(matrix):
    """The root of a positive semidefinite matrix."""
    values, basis = mp.eigsy(matrix)
    return basis * mp.diag([mp.sqrt(max(x, 0)) for x in values]) * basis.T
