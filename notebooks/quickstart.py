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
# # Quickstart: how a linear network learns
#
# A two-layer linear network computes $\hat y = W_2 W_1 x$. Gradient flow conserves its balance
# $W_2^\top W_2 - W_1 W_1^\top$. If the balance is $\lambda I$, the whole trajectory has a closed
# form. We compute it, check it against gradient descent, and look at the effect of $\lambda$.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr

# %% [markdown]
# ## A task and a network
#
# The task is a random regression with white inputs. The network starts small and balanced at
# $\lambda = 0$.

# %%
task_key, key = jax.random.split(jax.random.key(1))
task = lr.Task.random_regression(3, 2, samples=10, target_scale=10.0, key=task_key)
network = lr.LambdaBalanced(lmda=0.0, scale=3e-3)(3, 2, 2, key=key)
print("singular values of the task:", jnp.linalg.svd(task.input_output_correlation)[1])

# %% [markdown]
# ## The exact trajectory, beside the simulation
#
# Time is learning rate times step. Gradient descent at learning rate 1e-3 takes 3000 steps to
# reach $t = 3$.

# %%
ts = jnp.linspace(0, 3, 301)
exact = lr.learn(network, task, ts)
descent = lr.learn(network, task, ts, dynamics=lr.GradientDescent(1e-3))
print(exact)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
both = {"gradient descent": descent, "exact": exact}
lr.plot.loss(both, ax=left)
lr.plot.function(both, ax=right)
gap = jnp.abs(exact.function - descent.function).max()
print(f"largest difference of the function: {gap:.2g}")

# %% [markdown]
# The loss falls in steps, one for every singular value of the task: from small balanced weights
# the network learns the strong mode first. This is the *rich* regime.
#
# ## The effect of $\lambda$
#
# The singular values of the function at the start are equal for every $\lambda$. Only the sizes
# of the two layers change. One `vmap` solves all of them.

# %%
lmdas = jnp.array([0.0, 1.0, 5.0, 20.0])


def loss(lmda):
    network = lr.LambdaBalanced(lmda, scale=3e-3)(3, 2, 2, key=key)
    return lr.ExactSolution(network, task).loss(ts)


losses = jax.jit(jax.vmap(loss))(lmdas)
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for lmda, curve in zip(lmdas, losses, strict=True):
    ax.plot(ts, curve, label=rf"$\lambda = {lmda:g}$")
ax.set(xlabel="time", ylabel="loss")
ax.legend()

# %% [markdown]
# With growing $\lambda$ the plateaus vanish and the curve becomes an exponential. This is the
# *lazy* regime: the network behaves like a linear model with a fixed kernel. The distance that the
# kernel moves distinguishes the two regimes.


# %%
def kernel_distance(lmda):
    network = lr.LambdaBalanced(lmda, scale=0.5)(3, 2, 2, key=key)
    solution = lr.ExactSolution(network, task)
    start, end = solution.ntk(jnp.array([0.0, jnp.inf]), task.x)
    return lr.measures.kernel_distance(start, end)


lmdas = jnp.geomspace(0.1, 1000, 50)
distances = jax.jit(jax.vmap(kernel_distance))(lmdas)
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.loglog(lmdas, distances)
ax.set(xlabel=r"$\lambda$", ylabel="kernel distance, start to end")
assert distances[-1] < 1e-3 * distances[0]
