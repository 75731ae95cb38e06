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
# # A convolutional network, from its start to neural collapse
#
# A small convolutional network of Equinox learns the handwritten digits of scikit-learn, with the cross
# entropy and weight decay. `lr.richness.report` says how rich its training was. `lr.richness.Recorder` keeps states on
# the way. *When do its features become those that the outputs need, and when do the classes collapse?*

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

digits = load_digits()
order = jax.random.permutation(jax.random.key(0), len(digits.data))
x = jnp.asarray(digits.images / 16, jnp.float32)[order][:, None]  # one channel
x = x - jnp.mean(x, axis=0)
labels = jnp.asarray(digits.target, jnp.int32)[order]
x_train, y_train, x_test, y_test = x[:512], labels[:512], x[512:812], labels[512:812]

# %% [markdown]
# ## The model
#
# Two convolutions with strides, a hidden dense layer and a readout: 8 x 8 pixels become 4 x 4 and
# 2 x 2. A model maps one sample, without an axis for the batch.


# %%
def network(key):
    keys = jax.random.split(key, 4)
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 8, 3, stride=2, padding=1, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(8, 16, 3, stride=2, padding=1, key=keys[1]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(64, 32, key=keys[2]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(32, 10, key=keys[3]),
        ]
    )


start = network(jax.random.key(1))
for layer in lr.richness.layers(start, x_test):
    print(layer.name, layer.kind, layer.weight.shape)

# %% [markdown]
# ## Training, with a recorder
#
# The recorder is one line in the loop. It keeps the model at its first step and at every later step
# that is a power of two.

# %%
optimiser = optax.adamw(3e-3, weight_decay=0.3)


def loss_of(model):
    logits = jax.vmap(model)(x_train)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y_train).mean()


@eqx.filter_jit
def train(model, state):
    loss, slope = eqx.filter_value_and_grad(loss_of)(model)
    updates, state = optimiser.update(slope, state, eqx.filter(model, eqx.is_array))
    return eqx.apply_updates(model, updates), state, loss


recorder = lr.richness.Recorder(x_test, y_test, steps="doubling")
model, state = start, optimiser.init(eqx.filter(start, eqx.is_array))
for step in range(513):
    recorder(step, model)
    model, state, loss = train(model, state)
print(recorder, f"last training loss {loss:.2g}")

# %% [markdown]
# ## The report
#
# On 100 held-out digits. With classes as targets the loss is the cross entropy, and the report has the
# measures of neural collapse. The last convolution is flattened with its channels first, which the
# balance of it and the dense layer must know.

# %%
report = lr.richness.report(
    recorder.start,
    recorder.end,
    x_test,
    y_test,
    samples=100,
    channels="first",
    leave_out=("sharpness",),
)
print(report)

assert report["rich_lazy_index"] > 0.9 and report["linearisation_gap"] > 0.8
assert 0.05 < report["kernel_distance"] < 0.4
assert report["feature_alignment"][0] > 0.9 > 0.6 > report["feature_alignment"][2]

# %% [markdown]
# - The *rich-lazy index* is almost one, and the linearised model misses almost all that was learned
#   (*linearisation gap*). The training was rich.
# - The *kernel distance* is only about 0.15. The tangent kernel grew by far more than it turned, and this
#   distance doesn't see growth.
# - *Feature alignment* falls from layer to layer: the first convolution keeps its features, up to scale,
#   and the last hidden layer has new ones. The rest of the change is size, *feature change*.
# - *NC1* and *NC3* fell. *NC2* did not: the class means are no simplex. *NC4*: the readout gives almost
#   all digits to the nearest class mean.
# - The *gradient alignment* is for dense layers. It is NaN for convolutions.
# - *Drift* of the balance: Adam and weight decay do not conserve it. The second convolution
#   outgrew the first (*lmda*).
#
# ## Along the training
#
# Each measure can be called alone. Neural collapse and $D_{LR}$ are measured on the training digits,
# where collapse is defined. The kernels are those of 60 held-out digits.


# %%
@eqx.filter_jit
def numbers(model):
    features = jax.vmap(eqx.nn.Sequential(model.layers[:-1]))(x_train)
    readout = model.layers[-1]
    outputs = jax.vmap(readout)(features)
    collapse = lr.measures.neural_collapse(features, y_train, readout.weight, readout.bias)
    return {
        "training accuracy": jnp.mean(jnp.argmax(outputs, axis=1) == y_train),
        "test accuracy": jnp.mean(jnp.argmax(jax.vmap(model)(x_test), axis=1) == y_test),
        "D_LR": lr.measures.dynamical_richness(features, outputs),
        **collapse._asdict(),
    }


rows = []
for model in recorder.models:
    row = {name: float(value) for name, value in numbers(model).items()}
    products = lr.richness.kernel_products(start, model, x_test[:60])
    row["kernel distance"] = float(products.kernel_distance)
    row["rich-lazy index"] = float(products.rich_lazy_index)
    rows.append(row)
course = {name: np.array([row[name] for row in rows]) for name in rows[0]}
print(f"{'step':18}", *(f"{step:6}" for step in recorder.steps))
for name, values in course.items():
    print(f"{name:18}", *(f"{value:6.3f}" for value in values))

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
shown = ("test accuracy", "D_LR", "kernel distance", "rich-lazy index")
for i, name in enumerate(shown):
    axes[0].plot(recorder.steps, course[name], "o-", color=COLOURS[i], label=name)
for i, name in enumerate(("nc1", "nc2_norms", "nc2_angles", "nc3", "nc4")):
    axes[1].plot(recorder.steps, course[name], "o-", color=COLOURS[i], label=name)
axes[1].set(yscale="symlog", ylim=(0, None), title="neural collapse")
for ax in axes:
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlabel="step", xlim=(-0.2, 1000))
    ax.legend(frameon=False, fontsize=8)

rich = course["D_LR"]
assert rich.max() > rich[0] + 0.1 and rich.max() > rich[-1] + 0.1
assert 10 < recorder.steps[rich.argmax()] < 150
assert course["nc1"][-1] < 0.25 * course["nc1"][0] and course["nc4"][-1] < 0.1
assert course["nc3"].min() < course["nc3"][-1] < 0.5 * course["nc3"][0]
assert course["nc1"][-1] > 0.3 and course["nc2_angles"][-1] > 0.1
assert course["test accuracy"][-1] > 0.93

# %% [markdown]
# - $D_{LR}$ is *not* monotonic. It rises from 0.32 to 0.52 while the first classes are told apart, at
#   step 32, and falls back to 0.33 after all training digits are. A single value of it, without the
#   course, would say that nothing happened. The untrained network has small values because its few
#   outputs carry most of what its features have. The kernel distance is not monotonic either.
# - NC1 and NC4 fall, most of it before the test accuracy is at its end. NC3 falls to a minimum
#   of 0.4 and then rises again: the readout turns away from the class means.
# - Within these 512 steps collapse remains partial: NC1 is near 0.9, and NC2 is close to its start. Papyan et al.
#   see collapse in networks trained for very long after the training error is zero.
#
# ## Summary
#
# - One recorder in the loop, one report at the end, and single measures along the way.
# - The numbers disagree in an instructive way. The index and the gap say rich, the kernel distance says
#   "by growth". $D_{LR}$ needs its course to be read.
