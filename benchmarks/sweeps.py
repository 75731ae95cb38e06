"""The time and memory of large sweeps: `python -m benchmarks.sweeps`.

It writes docs/sweeps.png, the resident memory during a sweep of a million points to
disk, and prints the numbers in docs/sweeps.md.
"""

import pathlib
import tempfile
import threading
import time

import jax
import jax.numpy as jnp

import lazyrich_jax as lr
from lazyrich_jax.sweeps import evaluate

jax.config.update("jax_enable_x64", True)
KEY = jax.random.key(1)


def resident():
    """Resident memory in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Sampler(threading.Thread):
    """A thread that records resident memory over time."""

    def __init__(self):
        super().__init__(daemon=True)
        self.start_time, self.samples = time.perf_counter(), []
        self.running = True

    def run(self):
        """Sample until `running` is false."""
        while self.running:
            self.samples.append((time.perf_counter() - self.start_time, resident()))
            time.sleep(0.1)


def sweep(points, ts, folder):
    """Seconds for the losses of `points` networks at `ts`, to disk, and the memory."""
    task = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0))

    def losses(point):
        start = lr.LambdaBalanced(point["lmda"], 0.3)(3, 2, 2, key=point["key"])
        return {"loss": ("time", lr.ExactSolution(start, task, throw=False).loss(ts))}

    keys = jax.random.split(jax.random.key(1), 1000)
    grid = lr.sweeps.Grid(lmda=jnp.linspace(-10, 10, points // 1000), key=keys)
    sampler = Sampler()
    sampler.start()
    start = time.perf_counter()
    data = lr.sweeps.run(
        losses, grid, store=pathlib.Path(folder) / f"{points}.zarr", progress=False
    )
    seconds = time.perf_counter() - start
    sampler.running = False
    assert bool((data.status == 1).all())
    return seconds, sampler.samples


def gradients(points):
    """Seconds for a gradient in a sweep: one program at a time, and several."""
    task = lr.Task.random_regression(5, 5, 20, key=jax.random.key(0))
    ts = jnp.linspace(0, 3, 100)

    def slope(point):
        def loss(lmda):
            start = lr.LambdaBalanced(lmda, 0.3, throw=False)(5, 5, 5, key=KEY)
            return lr.ExactSolution(start, task, throw=False).loss(ts).sum()

        return {"slope": jax.grad(loss)(point["lmda"])}

    grid = lr.sweeps.Grid(lmda=jnp.linspace(-5, 5, points))
    several = evaluate.concurrent_programs
    fastest = {1: float("inf"), several(): float("inf")}
    for repetition in range(4):
        for programs in fastest:
            evaluate.concurrent_programs = lambda programs=programs: programs
            start = time.perf_counter()
            lr.sweeps.run(slope, grid, chunk_size=points, progress=False)
            if repetition > 0:  # the first compiles
                seconds = time.perf_counter() - start
                fastest[programs] = min(fastest[programs], seconds)
    evaluate.concurrent_programs = several
    return fastest


def main():
    """Measure the sweeps, and draw the memory of the largest one."""
    for programs, seconds in gradients(100_000).items():
        print(f"1e5 gradients of 5-5-5 losses, {programs} at once: {seconds:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = sweep(100_000, jnp.linspace(0, 10, 100), folder)
        print(f"1e5 points x 100 times of loss, float64, with writing: {seconds:.1f} s")
        seconds, samples = sweep(1_000_000, jnp.linspace(0, 10, 5), folder)
    times, memory = zip(*samples, strict=True)
    half = memory[len(memory) // 2 :]
    print(
        f"1e6 points x 5 times: {seconds:.1f} s; resident memory from the middle to "
        f"the end {min(half):.0f} to {max(half):.0f} MB, most {max(memory):.0f} MB"
    )
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.plot(times, memory)
    axes.set(xlabel="seconds", ylabel="resident memory (MB)", ylim=(0, None))
    axes.set_title("A sweep of a million points, written to disk", loc="left")
    figure.savefig(pathlib.Path(__file__).parents[1] / "docs" / "sweeps.png", dpi=150)


if __name__ == "__main__":
    main()
