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
# # A semantic hierarchy: what is learned first, and what it looks like inside
#
# Children tell animals from plants before they tell birds from fish, and birds from fish before
# canaries from robins. A linear network trained on such a tree does the same, if it is rich. We
# ask two questions: in which *order* does a network learn the levels of a tree, and which
# *representation* does it end with, as the balance $\lambda I = W_2^\top W_2 - W_1W_1^\top$ of its
# layers goes from large negative through zero to large positive?

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot.style import COLOURS

# %% [markdown]
# ## The task
#
# Eight items, one-hot, are the leaves of a binary tree. Every branching is an attribute that
# separates its two sides ($+1$ and $-1$; 0 elsewhere), and one attribute is shared by all. The
# attributes are orthogonal, so the singular value decomposition of $\Sigma = \frac1P\sum_n
# y_nx_n^\top$ is the tree itself: a mode for every branching, and the higher it is, the more items
# it speaks of, and the larger its singular value.

# %%
task = lr.Task.hierarchy(levels=3)
items = ("canary", "robin", "salmon", "sunfish", "oak", "pine", "rose", "daisy")
levels = {
    "all, and animal or plant": slice(0, 2),
    "bird or fish, tree or flower": slice(2, 4),
    "canary or robin, ...": slice(4, 8),
}
s = jnp.linalg.norm(task.y, axis=0) / task.samples
for name, level in levels.items():
    print(f"{name}: singular value of the correlation {s[level][0]:.4f}, {len(s[level])} times")

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
lr.plot.matrix(task.y, ax=axes[0]).set(title="targets", xlabel="attribute")
lr.plot.matrix(task.y @ task.y.T, ax=axes[1]).set(title="similarity of the items' targets")
for ax in axes:
    ax.set_yticks(range(8), items)

# %% [markdown]
# ## The order of learning
#
# One-hot items have $\Sigma_{xx} = cI$ with $c = 1/8$. At $\lambda = 0$, from small weights, an
# aligned mode is the sigmoid of the other notebook: half of it is learned at about
#
# $$t \approx \frac1{2s}\ln\frac{s/c}{a_0},$$
#
# so large singular values come first. We compute the whole trajectory of an 8-8-8 network exactly,
# with gradient descent beside it, from a random start that is *not* aligned. One thing to check at
# $\lambda = 0$: gradient flow can't change the sign of $\det W_2W_1$, so a start of the other sign
# than the target's ends at a saddle, one mode short.

# %%
ts = jnp.linspace(0, 120, 241)


def network(lmda, scale):
    return lr.LambdaBalanced(lmda, scale)(8, 8, 8, key=jax.random.key(2))


small = network(0.0, 0.01)
signs = [int(jnp.linalg.slogdet(m)[0]) for m in (small.function, task.input_output_correlation)]
print("signs of the determinants, start and target:", signs)
rich = lr.learn(small, task, ts)
rich_descent = lr.learn(small, task, ts, dynamics=lr.GradientDescent(0.05))


def strengths(trajectory):
    """How much of every attribute the function has: 1 where it is learned."""
    y = task.y
    return jnp.einsum("tai,ia->ta", trajectory.function, y) / jnp.sum(y * y, axis=0)


fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
lr.plot.loss({"gradient descent": rich_descent, "exact": rich}, ax=axes[0])
learned = strengths(rich)
for i, (name, level) in enumerate(levels.items()):
    axes[1].plot(ts, strengths(rich_descent)[:, level], color=COLOURS[i], lw=2.2)
    axes[1].plot(ts, learned[:, level], "k:", lw=1.2)
    axes[1].plot([], [], color=COLOURS[i], label=name)
    half = ts[jnp.argmax(learned[:, level] > 0.5, axis=0)]
    print(f"{name}: half learned between t = {half.min():.1f} and {half.max():.1f}")
axes[1].set(xlabel="time", ylabel="part of the attribute learned")
axes[1].legend(frameon=False, fontsize=8, loc="lower right")
print(
    f"largest difference of the function: {jnp.abs(rich.function - rich_descent.function).max():.2g}"
)

# %% [markdown]
# Level by level, from the root to the leaves. Attributes of one level aren't learned at one
# moment, since the start favours some of them and mixes others, but none is half learned before
# those of the levels above.
#
# ## Differentiation in the hidden layer
#
# The same order can be seen from inside. Let $h_i = W_1x_i$ be the hidden activity of item $i$. We
# follow the squared distance of the canary from its sibling, from a cousin and from a plant.


# %%
def distances(trajectory):
    k = trajectory.input_representation
    d = jnp.diagonal(k, axis1=1, axis2=2)
    return d[:, :1] + d - 2 * k[:, 0]


fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharey=True)
lazy = lr.learn(network(-30.0, 0.01), task, ts)
for ax, run, name in zip(axes, (rich, lazy), (r"$\lambda = 0$", r"$\lambda = -30$"), strict=True):
    d = distances(run)
    for i, other in enumerate((4, 2, 1)):
        ax.plot(
            ts,
            d[:, other] / d[-1].max(),
            color=COLOURS[i],
            lw=2,
            label=f"canary, {items[other]}",
            ls=lr.plot.style.LINESTYLES[i],
        )
    ax.set(title=name, xlabel="time")
axes[0].set_ylabel(r"$|h_i - h_j|^2$ / largest at the end")
axes[0].legend(frameon=False)
_ = axes[1].set_ylim(0, 1.1)

# %% [markdown]
# In the rich network, the distances open one after another, and end ordered like the tree. In the
# network at $\lambda = -30$ the items are equally far apart before learning starts, and stay so:
# its first layer is a rotation times $\sqrt{|\lambda|}$, up to small corrections, and learning
# hardly touches it.
#
# ## Where the representations end
#
# Converged representations depend on the task and the balance alone. With $\Sigma / c = USV^\top$,
#
# $$W_2W_2^\top \to U\,\frac{\sqrt{\lambda^2 + 4S^2} + \lambda}2\,U^\top, \qquad
# W_1^\top W_1 \to V\,\frac{\sqrt{\lambda^2 + 4S^2} - \lambda}2\,V^\top .$$
#
# At $\lambda = 0$ these are $USU^\top$ and $VSV^\top$: both layers carry the task. For $\lambda
# \to +\infty$ they are $\lambda I$ and $VS^2V^\top/\lambda$: the large layer knows nothing of the
# task, and the small one all. For $\lambda \to -\infty$ the layers change places. $QQ^\top$ with
# $Q = [W_1^\top; W_2]$ shows them together: input representation top left, output representation
# bottom right, the function between.

# %%
final = jnp.array([0.0, jnp.inf])
ends = {lmda: lr.learn(network(lmda, 0.3), task, final) for lmda in (-10.0, 0.0, 10.0)}
fig, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
for column, (lmda, run) in zip(axes.T, ends.items(), strict=True):
    for index, ax in enumerate(column):
        lr.plot.representation(run, "qqt", index=index, ax=ax)
    column[0].set_title(rf"$\lambda = {lmda:g}$: $QQ^\top$ at $t = 0$")

# %%
fig, axes = plt.subplots(2, 3, figsize=(11, 6.6), layout="constrained")
for column, (lmda, run) in zip(axes.T, ends.items(), strict=True):
    theory = lr.theory.converged_representations(task, lmda, 8)
    for which, ax in zip(("input", "output"), column, strict=True):
        lr.plot.representation(run, which, ax=ax)
        expected = getattr(theory, f"{which}_representation")
        gap = jnp.abs(getattr(run, f"{which}_representation")[-1] - expected).max()
        print(f"lambda = {lmda:g}, {which}: from theory by at most {gap:.1g}")
    column[0].set_title(rf"$\lambda = {lmda:g}$: input, at the end")
    column[1].set_title("output, at the end")

# %% [markdown]
# - $\lambda = 0$: the items' representation shows the tree (blocks within blocks), that of the
#   attributes is diagonal, larger for the attributes of higher branchings.
# - $\lambda = 10$: the output representation is near $\lambda I$, at the start as at the end. The
#   input representation, next to nothing at the start, is small at the end too (mind the colour
#   bar), but it has the tree.
# - $\lambda = -10$: the reverse. All items are equally different from each other, $|\lambda| I$;
#   nothing in the hidden layer says that canary and robin have much in common.
#
# ## How task-specific is a representation?
#
# A score between 0 and 1: the larger of the alignments of $W_1^\top W_1$ with $VSV^\top$ and with
# $VS^2V^\top$, and for the output with $USU^\top$ and $US^2U^\top$. A representation that knows
# nothing, the identity, doesn't score 0, but as much as the identity is aligned with those.


# %%
def scores(input_representation, output_representation):
    sigma = task.input_output_correlation
    return (
        lr.measures.task_specificity(input_representation, sigma),
        lr.measures.task_specificity(output_representation, sigma.T),
    )


@jax.jit
@jax.vmap
def theory_scores(lmda):
    end = lr.theory.converged_representations(task, lmda, 8)
    return scores(end.input_representation, end.output_representation)


@jax.jit
@jax.vmap
def descent_scores(lmda):
    run = lr.learn(
        network(lmda, 0.3), task, jnp.array([0.0, 400.0]), dynamics=lr.GradientDescent(0.02)
    )
    return scores(run.input_representation[-1], run.output_representation[-1])


half = jnp.geomspace(1e-2, 100, 60)
lmdas = jnp.concatenate([-half[::-1], half])
some = jnp.array([-30.0, -3.0, -0.3, 0.3, 3.0, 30.0])
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
names = ("input: $W_1^\\top W_1$", "output: $W_2W_2^\\top$")
for i, (line, dots) in enumerate(zip(theory_scores(lmdas), descent_scores(some), strict=True)):
    ax.plot(lmdas, line, color=COLOURS[i], ls=("-", "--")[i], lw=2, label=names[i])
    ax.plot(some, dots, "os"[i], color=COLOURS[i])
blank = float(scores(jnp.eye(8), jnp.eye(8))[0])
ax.axhline(blank, color="0.6", lw=1, label="the identity")
ax.set_xscale("symlog", linthresh=1e-1)
ax.set(xlabel=r"$\lambda$", ylabel="task-specific score", xticks=[-100, -10, -1, 0, 1, 10, 100])
ax.legend(frameon=False, loc="lower center", fontsize=8)
print(f"the identity scores {blank:.3f}")

# %% [markdown]
# Lines: theory; markers: gradient descent from random balanced weights. At $\lambda = 0$ both
# representations have the full score. Towards either end the large layer falls to the score of the
# identity, and the small layer keeps its own: it dips where it is between $VSV^\top$ and
# $VS^2V^\top$, and comes back. (The identity scores high since the singular values of this tree
# differ by no more than a factor of two.)
#
# ## What we saw
#
# - A rich network learns the tree from the root to the leaves, and its hidden layer differentiates
#   in the same order.
# - "Lazy" doesn't mean that nothing is represented. For $\lambda \to +\infty$ the input
#   representation is as task-specific as in the rich regime, though small; for
#   $\lambda \to -\infty$ the input representation is blank, and all of the task is in the readout.
# - The sign of $\lambda$ decides *where* the task is represented; the kernel distance, which
#   treats both signs alike, doesn't see it. What that means for generalisation is in the notebook
#   on continual learning, reversal and transfer.
