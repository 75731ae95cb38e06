"""Deep linear networks, their balance and their representations."""

import functools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from . import _checks, _display, _dtypes
from ._balanced import rebalanced_pair
from ._compression import compressed_pair, imbalance_spectrum
from ._feasible import feasible_lmda
from ._imbalance import distance_from_balance, nearest_balance
from ._linalg import dot
from ._weights import chained, of_dense_layers, require_two_layers
from ._xla import compiled


class LinearNetwork(eqx.Module):
    r"""A linear network of any depth, $\hat y = W_L \cdots W_1 x$.

    **Arguments:**

    - `weights`: the matrices from the input on, each of shape (out, in): for two
      layers `(w1, w2)` with `w1` (hidden, in) and `w2` (out, hidden).

    All weights are converted to the widest of their dtypes, single or double precision.

    **Raises:** `ValueError` if a weight is not a finite matrix or the sizes don't
    chain; `TypeError` if a weight is not real, or in half precision.

    Calling the network maps one sample, (in,) to (out,); use `jax.vmap` for a batch.
    The properties also work on networks whose weights carry leading batch axes, such
    as `trajectory.network`.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    network = lr.LinearNetwork((jnp.eye(2, 3), jnp.eye(2)))
    print(network(jnp.ones(3)))  # [1. 1.]
    ```
    """

    weights: tuple[Float[Array, "..."], ...]

    def __init__(self, weights: Sequence[Real[ArrayLike, "out in"]]):
        self.weights = chained(weights)

    def __call__(self, x: Real[ArrayLike, " in"]) -> Float[Array, " out"]:
        """The output for one sample."""
        _checks.one("network", self)
        sample = _dtypes.as_real("x", x)
        _checks.require(
            sample.shape == (self.sizes[0],),
            f"`x` must be one sample of shape ({self.sizes[0]},), but its shape was "
            f"{sample.shape}; map over a batch with `jax.vmap`.",
        )
        weights, sample = _dtypes.promoted(network=self.weights, x=sample)
        return functools.reduce(lambda h, w: dot(w, h), weights, sample)

    @classmethod
    def from_layers(cls, model: PyTree, layout: str | None = None) -> "LinearNetwork":
        """The linear network with the weights of another model's dense layers.

        Activation functions are ignored. Equinox modules have their layers in order. A
        dict is read in its order, with ascending numbers. JAX sorts the keys of dicts,
        so layers whose names are not numbered are best given as a list.

        **Arguments:**

        - `model`: an Equinox module (`eqx.nn.Linear`, `eqx.nn.MLP`, `LinearNetwork`), a
          dict of Flax parameters (its kernels are (in, out)), a PyTorch state dict of
          NumPy arrays ((out, in)), or any tree of plain matrices.
        - `layout`: `"out_in"` or `"in_out"`, required for plain matrices.

        **Raises:** `ValueError` for plain matrices without `layout`, a `layout` that is
        not the framework's, layers other than dense ones, and biases and other
        parameters that aren't zero; as `LinearNetwork` for bad weights.

        ```python
        import equinox as eqx
        import jax
        import lazyrich_jax as lr

        model = eqx.nn.MLP(4, 3, 8, 1, use_bias=False, use_final_bias=False,
                           key=jax.random.key(0))
        print(lr.LinearNetwork.from_layers(model).sizes)  # (4, 8, 3)
        ```
        """
        if isinstance(model, LinearNetwork) and layout is None:
            layout = "out_in"
        return cls(of_dense_layers(model, layout))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of a batch of networks; empty for one network."""
        return self.weights[0].shape[:-2]

    @property
    def depth(self) -> int:
        """The number of weight matrices."""
        return len(self.weights)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of units in every layer, from the input to the output."""
        return (self.weights[0].shape[-1], *(w.shape[-2] for w in self.weights))

    @property
    @compiled
    def function(self) -> Float[Array, "*batch out in"]:
        r"""The end-to-end map $W_L \cdots W_1$."""
        return dot(*reversed(self.weights))

    @property
    @compiled
    def lmda(self) -> Float[Array, "..."]:
        r"""The balance $\lambda^* = \mathrm{tr}(W_2^\top W_2 - W_1 W_1^\top) / N_h$.

        It minimises $\|W_2^\top W_2 - W_1 W_1^\top - \lambda I\|_F$, whether or not the
        weights are balanced, and is positive if the readout is larger. Gradient flow
        conserves it. It is a scalar for two layers. Deeper networks have one value for
        every hidden layer, on the last axis.

        **Raises:** `ValueError` for a network of one layer, which has no balance.
        """
        return nearest_balance(self.weights)

    @property
    @compiled
    def balance_residual(self) -> Float[Array, "..."]:
        r"""$\|W_2^\top W_2 - W_1 W_1^\top - \lambda^* I\|_F$: zero if balanced.

        It has the shape of `lmda` and the units of a squared weight.
        """
        return distance_from_balance(self.weights)

    @property
    @compiled
    def imbalance_spectrum(self) -> Float[Array, "*batch hidden"]:
        r"""The eigenvalues of $W_2^\top W_2 - W_1 W_1^\top$, for two layers.

        They increase, and gradient flow conserves them. All are `lmda` for balanced
        weights. For wide random layers `in` of them are negative, `out` are positive
        and the others zero. They cost no more than a layer of `in + out` units does.
        Their derivatives need, for a wider layer, linearly independent hidden
        directions of all inputs and outputs, and are a runtime error elsewhere.

        **Raises:** `ValueError` for a depth other than two.
        """
        require_two_layers("imbalance_spectrum", self.weights)
        return imbalance_spectrum(*self.weights)

    @property
    @compiled
    def effective_scales(self) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        r"""The effective input scale and output scale, for two layers.

        They are the sum of the negative eigenvalues of
        $W_2^\top W_2 - W_1 W_1^\top$ over $-\min(N_i, N_h)$, and that of the positive
        ones over $\min(N_o, N_h)$. Gradient flow conserves them. They are exact for
        every network of `lazyrich_jax.wide_network` and, with $\max(\mp\lambda, 0)$,
        for balanced ones. They tend to $w\sigma_1^2$ and $w\sigma_2^2$ for Gaussian
        weights of width w. The traces of the representations, which they replace,
        include the function's part of the weights and are less accurate.
        """
        values = self.imbalance_spectrum
        n_in, hidden, n_out = self.sizes
        below = jnp.sum(jnp.maximum(-values, 0), axis=-1) / min(n_in, hidden)
        return below, jnp.sum(jnp.maximum(values, 0), axis=-1) / min(n_out, hidden)

    @property
    def effective_laziness(self) -> Float[Array, "*batch"]:
        r"""The sum of both `effective_scales`: $|\lambda|$ for balanced weights.

        The function of a wide random network, with isotropic inputs, depends only on
        it, on the start and on the task (`lazyrich_jax.theory.wide_function`). `lmda`
        does not describe such a network.
        """
        below, above = self.effective_scales
        return below + above

    @property
    def effective_side(self) -> Float[Array, "*batch"]:
        r"""The output scale less the input scale: $\lambda$ for balanced weights.

        It is positive where the output representation is the larger one.
        """
        below, above = self.effective_scales
        return above - below

    @property
    @compiled
    def input_representation(self) -> Float[Array, "*batch in in"]:
        r"""$W_1^\top W_1$."""
        return dot(self.weights[0].mT, self.weights[0])

    @property
    @compiled
    def output_representation(self) -> Float[Array, "*batch out out"]:
        r"""$W_L W_L^\top$."""
        return dot(self.weights[-1], self.weights[-1].mT)

    @property
    @compiled
    def qqt(self) -> Float[Array, "*batch both both"]:
        r"""$QQ^\top$ with $Q = [W_1^\top; W_2]$, for two layers.

        Its blocks are the input representation, the function and the output
        representation (Fukumizu 1998; Braun et al. 2022).
        """
        require_two_layers("qqt", self.weights)
        w1, w2 = self.weights
        q = jnp.concatenate([w1.mT, w2], axis=-2)
        return dot(q, q.mT)

    def rebalanced(self, lmda: Real[ArrayLike, ""]) -> "LinearNetwork":
        r"""The `lmda`-balanced network with this network's function, for two layers.

        Its hidden basis is the one nearest to this network's: a balanced network
        rebalanced to its own `lmda` is unchanged. It is differentiable also where the
        function's singular values repeat. Where a mode has strength zero, or a hidden
        unit is zero in both layers, a derivative does not exist and is a runtime error.

        **Raises:** `ValueError` for a depth other than two, and if the sizes
        don't allow the sign of `lmda`: positive needs `hidden <= out`, negative needs
        `hidden <= in`. A traced `lmda` of the wrong sign gives NaN weights.
        """
        _checks.one("network", self)
        require_two_layers("rebalanced", self.weights)
        balance = _checks.as_scalar("lmda", lmda)
        finer, balance = _dtypes.promoted(network=self, lmda=balance)
        feasible = feasible_lmda(balance, self.sizes)
        return LinearNetwork(rebalanced_pair(*finer.weights, lmda=feasible))

    def compressed(self) -> tuple["LinearNetwork", Float[Array, "hidden few"]]:
        r"""An equivalent network of few hidden units, and its rotation, for two layers.

        It returns `(network, rotation)`. `network` has at most `in + out` hidden units,
        and its function, loss, representations and tangent kernel are this network's.
        The columns of `rotation`, (hidden, few), are orthonormal:

        $$W_1 = R V_1, \qquad W_2 = V_2 R^\top$$

        with R the rotation and V the weights of `network`. It comes from a QR
        decomposition of $[W_1, W_2^\top]$. A network of at most `in + out` hidden units
        is returned as it is, with the identity.

        Gradient flow, gradient descent, momentum and weight decay commute with the
        rotation: the compressed network learns as this one does, at the cost of a
        narrow one, and the same `rotation` takes its weights back at any time.
        `GradientFlow`, and `GradientDescent` with a learning rate or
        `equivariant=True`, compress by themselves. Adam does not commute with it.

        **Raises:** `ValueError` for a depth other than two. The rotation has a
        derivative only where the hidden directions of all inputs and outputs are
        linearly independent. Elsewhere its derivative is a runtime error.

        ```python
        import jax
        import jax.numpy as jnp
        import lazyrich_jax as lr

        network = lr.Gaussian.lecun()(5, 1000, 4, key=jax.random.key(0))
        small, rotation = network.compressed()
        print(small.sizes)  # (5, 9, 4)
        print(jnp.abs(rotation @ small.weights[0] - network.weights[0]).max())
        ```
        """
        _checks.one("network", self)
        require_two_layers("compressed", self.weights)
        n_in, hidden, n_out = self.sizes
        if hidden <= n_in + n_out:
            return self, jnp.eye(hidden, dtype=self.weights[0].dtype)
        rotation, v1, v2 = compressed_pair(*self.weights)
        return LinearNetwork((v1, v2)), rotation

    def __repr__(self) -> str:
        """The sizes of all layers and the dtype."""
        return _display.line(
            self, lambda: _checks.sizes_text(self.sizes), lambda: self.batch_shape
        )

    def _repr_html_(self) -> str | None:
        """The balance and the function, of one concrete network."""
        return _display.shown(self, lambda: self.batch_shape, self._content)

    def _content(self) -> tuple[dict[str, str], str]:
        strengths = jnp.linalg.svd(self.function, compute_uv=False)
        rows = {"singular values of the function": _display.numbers(strengths)}
        if self.depth > 1:
            lmdas, residuals = map(jnp.ravel, (self.lmda, self.balance_residual))
            for i, (x, y) in enumerate(zip(lmdas, residuals, strict=True), start=1):
                text = f"{float(x):.4g}, with a residual of {float(y):.2g}"
                rows[f"λ of layers {i} and {i + 1}"] = text
        return rows, _display.heat_map(self.function, "function")
