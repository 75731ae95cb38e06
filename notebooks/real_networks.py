# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How rich are real networks? Digits, output scale and width
#
# The theory of this library is about linear networks. `lr.richness` asks the same questions of any
# model. Here linear, ReLU and tanh networks learn the handwritten digits of scikit-learn. *What makes
# their training lazy or rich? Which numbers tell? Does richness make the test better?*

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

digits = load_digits()
order = jax.random.permutation(jax.random.key(0), len(digits.data))
x = jnp.asarray(digits.data / 16, jnp.float32)[order]
x = x - jnp.mean(x, axis=0)
labels = jnp.asarray(digits.target, jnp.int32)[order]
y = jax.nn.one_hot(labels, 10) - 0.1
SAMPLES = 500
seen, held_out = slice(SAMPLES), slice(SAMPLES, 2 * SAMPLES)

# %% [markdown]
# ## The models
#
# A network $f$ of one hidden layer has the outputs $\alpha f(x)$. The scale $\alpha$ decides between
# lazy and rich (Chizat et al. 2019): with a large one, small changes of the weights are enough. The
# loss is divided by $\alpha^2$, which makes the speed of lazy learning independent of $\alpha$.
#
# With a large scale the random function of the start is large too. Hidden units in pairs of equal
# input weights and opposite output weights cancel it. We call such a network *centred*.
#
# The scale is $2^n$. The whole number $n$ is part of the model. It is not a parameter, since only
# floating-point arrays are.

# %%
ACTIVATIONS = {"linear": lambda z: z, "ReLU": jax.nn.relu, "tanh": jnp.tanh}


class Scaled(eqx.Module):
    """A network of one hidden layer, with outputs times 2**power."""

    network: eqx.nn.MLP
    power: jax.Array

    def __call__(self, x):
        return jnp.exp2(self.power.astype(x.dtype)) * self.network(x)


def start(activation, power, width=64, centred=True):
    """A network before training."""
    units = width // 2 if centred else width
    act = ACTIVATIONS[activation]
    network = eqx.nn.MLP(64, 10, units, 1, act, key=jax.random.key(1))
    if centred:
        one, two = network.layers
        arrays = (
            jnp.concatenate([one.weight, one.weight]),
            jnp.concatenate([one.bias, one.bias]),
            jnp.concatenate([two.weight, -two.weight], axis=1) / 2**0.5,
            jnp.zeros_like(two.bias),
        )
        places = lambda net: [a for layer in net.layers for a in (layer.weight, layer.bias)]
        network = eqx.tree_at(places, network, arrays)
    return Scaled(network, jnp.asarray(power))


@eqx.filter_jit
def descend(model, velocity, rate, steps, momentum=0.9):
    """The model, its velocity and its losses after steps of gradient descent."""
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)

    def loss(parameters):
        outputs = jax.vmap(eqx.combine(parameters, rest))(x[seen])
        return jnp.sum((outputs - y[seen]) ** 2) / (2 * SAMPLES)

    def step(carry, _):
        parameters, velocity = carry
        value, slope = jax.value_and_grad(loss)(parameters)
        pace = rate / jnp.exp2(2.0 * model.power)
        velocity = jax.tree.map(lambda v, g: momentum * v - pace * g, velocity, slope)
        return (jax.tree.map(jnp.add, parameters, velocity), velocity), value

    (parameters, velocity), losses = jax.lax.scan(step, (parameters, velocity), length=steps)
    return eqx.combine(parameters, rest), velocity, losses


def still(model):
    """A velocity of zero."""
    return jax.tree.map(jnp.zeros_like, eqx.filter(model, eqx.is_inexact_array))


def trained(model, rate=0.1, steps=1000):
    return descend(model, still(model), jnp.asarray(rate), steps)[0]


def accuracy(model, part):
    return float(jnp.mean(jnp.argmax(jax.vmap(model)(x[part]), axis=1) == labels[part]))


def report(before, after, leave_out=("sharpness", "gradient_alignment")):
    """A report on 100 held-out digits."""
    return lr.richness.report(
        before, after, x[held_out], y[held_out], samples=100, leave_out=leave_out
    )


# %% [markdown]
# ## A report, number by number
#
# A ReLU network of 64 units with a small scale, $\alpha = 1/8$. The report takes digits that were not
# trained on.

# %%
before = start("ReLU", -3)
after = trained(before)
rich = report(before, after, leave_out=())
print(rich)

# %% [markdown]
# - *Linearisation gap*: the linear model of the start's gradients misses most of what was learned.
# - *Kernel distance* and *rich-lazy index*: the tangent kernel turned, and most of it is new.
# - *Target alignment*: the new kernel is aligned with the classes several times as much.
# - *Weight movement*: the weights moved by several times their size at the start.
# - *Feature alignment* of the first layer: it is not that of the start, but has not forgotten it.
# - *Activation flips*: two in five pairs of a sample and a unit were switched on or off.
# - *$D_{LR}$*: the hidden features at the end are near those that the outputs need, at zero.
# - *Drift*: the balance matrix changed by more than the squared weights of the start. It is no
#   conserved quantity of a ReLU network. Its diagonal is one, see the last section.
#
# The outputs of a centred network are zero at the start, up to rounding. Numbers that compare with
# them have no meaning: the second row's feature alignment and change, the first values of $D_{LR}$ and
# of the gradient alignment.
#
# The same network with a large scale, $\alpha = 32$, has other numbers in every row.

# %%
before = start("ReLU", 5)
lazy = report(before, trained(before), leave_out=())
for name in ("linearisation_gap", "kernel_distance", "rich_lazy_index", "weight_movement"):
    print(f"{name:20} rich {rich[name]:.3f}, lazy {lazy[name]:.3f}")
for name in ("feature_alignment", "activation_flips", "gradient_alignment"):
    a, b = (np.ravel(r[name][0])[-1] for r in (rich, lazy))
    print(f"{name:20} rich {a:.3f}, lazy {b:.3f} (hidden layer)")
for name in ("target_alignment", "kernel_dimension"):
    (a, b), (c, d) = rich[name], lazy[name]
    print(f"{name:20} rich {a:.3g} to {b:.3g}, lazy {c:.3g} to {d:.3g}")

for name in ("linearisation_gap", "kernel_distance", "rich_lazy_index", "weight_movement"):
    assert rich[name] > 3 * lazy[name]
assert rich["feature_alignment"][0] < 0.9 < 0.99 < lazy["feature_alignment"][0]
assert rich["activation_flips"][0] > 0.3
assert rich["target_alignment"][1] > 4 * rich["target_alignment"][0]
assert lazy["target_alignment"][1] < 1.1 * lazy["target_alignment"][0]
assert rich["drift"][0] > 1
assert lazy["gradient_alignment"][0, 1] > 0.8

# %% [markdown]
# The lazy hidden layer has kept its features. The gradient alignment does not see this: it is 0.87 for
# random weights and 0.92 for learned ones. A large value of it alone is no sign of learned features.
#
# ## Three activations, five scales
#
# One report for each.

# %%
POWERS = (-3, -1, 1, 3, 5)
reports, models = {}, {}
for activation in ACTIVATIONS:
    for power in POWERS:
        before = start(activation, power)
        models[activation, power] = after = trained(before)
        reports[activation, power] = report(before, after)
tests = {key: accuracy(model, held_out) for key, model in models.items()}
losses = {key: float(r["loss"][1]) for key, r in reports.items()}


def curve(activation, value):
    return np.array([value(reports[activation, power]) for power in POWERS])


shown = {
    "kernel distance": lambda r: r["kernel_distance"],
    "linearisation gap": lambda r: r["linearisation_gap"],
    "CKA of hidden units": lambda r: r["feature_alignment"][0],
    "$D_{LR}$ at the end": lambda r: r["dynamical_richness"][1],
}
scales = 2.0 ** np.array(POWERS)
fig, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
for i, activation in enumerate(ACTIVATIONS):
    rows = [curve(activation, value) for value in shown.values()]
    rows += [[of[activation, power] for power in POWERS] for of in (tests, losses)]
    for ax, row in zip(axes.flat, rows, strict=True):
        ax.plot(scales, row, "o-", color=COLOURS[i], label=activation)
for ax, title in zip(axes.flat, (*shown, "test accuracy", "test loss"), strict=True):
    ax.set(xscale="log", title=title, xlabel=r"output scale $\alpha$")
axes[0, 0].legend(frameon=False)

# %%
for activation in ACTIVATIONS:
    print(activation)
    for name, value in shown.items():
        print(f"  {name:22}", curve(activation, value).round(3))
    print("  test accuracy         ", [round(tests[activation, power], 3) for power in POWERS])

# %% [markdown]
# Kernel distance and linearisation gap at the largest scale are far below those at the smallest, for
# all three activations, and CKA rises to one. The other panels say more:
#
# - The ReLU network leaves its linearisation last. With $\alpha = 8$ its kernel distance is 0.003, and
#   the linear model still misses two fifths of what was learned.
# - The gap is not monotonic. It exceeds one for the tanh network.
# - $D_{LR}$ is smaller for the richer linear and ReLU networks. In the tanh network it is about 0.45 at
#   every scale. It compares features and outputs at one time, and does not say whether features changed.
# - The linear network has a test accuracy of 0.91 at every scale: rich or lazy, its function is linear.
#   The lazy tanh network has almost the same. Its hidden units are nearly linear at the start, and stay
#   so. The rich one has 0.97.
# - The ReLU network has 0.95 to 0.97 at every scale. Lazy training costs it at most two per cent.
#
# The training has as many steps at every scale. Some of the loss at large scales is from slow
# directions of a kernel that does not grow.

# %%
for activation in ACTIVATIONS:
    for name in ("kernel distance", "linearisation gap"):
        values = curve(activation, shown[name])
        assert values[-1] < 0.2 * values[0]
    assert np.all(np.diff(curve(activation, shown["CKA of hidden units"])) > -0.02)
assert 0.3 < reports["ReLU", 3]["linearisation_gap"] < 0.5
richness = {activation: curve(activation, shown["$D_{LR}$ at the end"]) for activation in ACTIVATIONS}
assert all(richness[name][-1] > richness[name][0] + 0.15 for name in ("linear", "ReLU"))
assert np.ptp(richness["tanh"]) < 0.1
assert curve("tanh", shown["linearisation gap"]).max() > 1
of = {name: [tests[name, power] for power in POWERS] for name in ACTIVATIONS}
assert max(of["linear"]) < 0.93 < min(of["ReLU"])
assert of["tanh"][-1] < 0.93 < 0.95 < of["tanh"][0]

# %% [markdown]
# ## Width
#
# ReLU networks with $\alpha = 2$. The kernel of the readout is a sum over the hidden units, so that the
# learning rate is divided by their number.

# %%
WIDTHS = (16, 64, 256)
by_width = {}
for width in WIDTHS:
    before = start("ReLU", 1, width)
    after = trained(before, 0.1 * 64 / width)
    by_width[width] = report(before, after)
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {by_width[width][name]:.3f}"
        for name in ("kernel_distance", "rich_lazy_index", "linearisation_gap", "weight_movement")
    )
    print(f"width {width:3}: {numbers}, test accuracy {accuracy(after, held_out):.3f}")

for thin, wide in zip(WIDTHS, WIDTHS[1:], strict=False):
    for name in ("kernel_distance", "rich_lazy_index", "linearisation_gap", "weight_movement"):
        assert by_width[wide][name] < by_width[thin][name]

# %% [markdown]
# Every number falls with the width: a wide network is lazier at the same scale. The kernel distance falls
# fastest. Here the widest network has the best test accuracy, too.
#
# ## With the random function of the start
#
# The same ReLU networks, but without pairs of units.

# %%
plain = {}
for power in POWERS:
    before = start("ReLU", power, centred=False)
    plain[power] = after = trained(before)
    print(
        f"scale 2^{power}: training accuracy {accuracy(after, seen):.3f}, test "
        f"accuracy {accuracy(after, held_out):.3f} (centred {tests['ReLU', power]:.3f})"
    )

at = {power: accuracy(model, held_out) for power, model in plain.items()}
assert at[5] < tests["ReLU", 5] - 0.1
assert all(abs(at[power] - tests["ReLU", power]) < 0.02 for power in (-3, -1, 1))

# %% [markdown]
# At small scales the random function is small against the targets, and makes no difference. At the
# largest scale it is far larger than they are. The test accuracy is then much lower than that of the
# training, and than that of the centred network. *A comparison of lazy and rich networks that are not
# centred measures this too.*
#
# ## What is conserved
#
# Gradient flow conserves the balance $W_2^\top W_2 - W_1 W_1^\top - b_1 b_1^\top$ of a linear network.
# A ReLU network conserves its diagonal, a tanh network nothing. `lr.richness.Recorder` keeps states of
# the training, here of plain descent with a small rate. `lr.richness.balances` gives the balances of
# each. We divide their change by that of the weights' part $W_1 W_1^\top + b_1 b_1^\top$.

# %%
def drift(models):
    """Changes of the balance, and of its diagonal, over those of the first layer's part."""
    pairs = [lr.richness.balances(model)[0] for model in models]
    inner = [pair.pair.weights[0] @ pair.pair.weights[0].T for pair in pairs]
    size = np.array([jnp.linalg.norm(m - inner[0]) for m in inner[1:]])
    whole = np.array([jnp.linalg.norm(p.matrix - pairs[0].matrix) for p in pairs[1:]])
    units = np.array([jnp.linalg.norm(p.units - pairs[0].units) for p in pairs[1:]])
    return whole / size, units / size


drifts = {}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained", sharey=True)
for i, activation in enumerate(ACTIVATIONS):
    recorder = lr.richness.Recorder(x[held_out], y[held_out], steps="doubling")
    model = start(activation, -1)
    for k in range(17):
        recorder(k, model)
        model, _, _ = descend(model, still(model), jnp.asarray(0.02), 100, 0.0)
    drifts[activation] = drift(recorder.models)
    for ax, values in zip(axes, drifts[activation], strict=True):
        ax.plot(100 * recorder.steps[1:], values, "o-", color=COLOURS[i], label=activation)
for ax, title in zip(axes, ("balance matrix", "its diagonal"), strict=True):
    ax.set(xscale="log", yscale="log", title=title, xlabel="step", ylabel="change")
_ = axes[0].legend(frameon=False)
print(recorder)

# %%
for activation, (whole, units) in drifts.items():
    print(f"{activation:7} matrix {whole[-1]:.2g}, diagonal {units[-1]:.2g}")
assert drifts["linear"][0][-1] < 0.01 and drifts["ReLU"][1][-1] < 0.01
assert drifts["ReLU"][0][-1] > 0.3 and drifts["tanh"][1][-1] > 10 * drifts["ReLU"][1][-1]

# %% [markdown]
# Both laws hold to about one per mille, with steps of finite size. The tanh network keeps neither. It
# breaks the second mildly: its units stay near their linear part.
#
# ## Summary
#
# - A large output scale and a large width make training lazy, for all three activations.
# - No single number decides. The kernel distance, the linearisation gap and the CKA of hidden units
#   mostly agree. $D_{LR}$ and the gradient alignment look at one time: at the final features, and not at
#   their change.
# - Rich is not better by itself. The test accuracy gains much for tanh, little for ReLU, and nothing for
#   linear networks.
# - Networks whose large random start is not removed generalise badly. Laziness alone does not do this.
# - The balance tells which law a network obeys: all of it, its diagonal, or nothing.
