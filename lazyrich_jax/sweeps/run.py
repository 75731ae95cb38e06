"""The loop of a sweep: one compiled function evaluates equal blocks of points."""

import contextlib
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax

from .. import _checks
from .arguments import (
    checked_coords,
    checked_dtype,
    checked_memory,
    checked_mesh,
    checked_store,
)
from .evaluate import Lanes
from .grid import Grid, Slices
from .identity import Plan, checked_config, from_text
from .place import Place, place
from .processes import Heartbeat, held
from .status import summary
from .store import Memory, Store

if TYPE_CHECKING:
    import xarray


def run(
    fn: Callable[[dict[str, Any]], Any],
    grid: Grid,
    *,
    store: str | os.PathLike | None = None,
    chunk_size: int | None = None,
    memory: float | None = None,
    mesh: jax.sharding.Mesh | None = None,
    order: str | None = None,
    dtype: Any = None,
    coords: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    progress: bool = True,
) -> "xarray.Dataset":
    r"""Evaluate a function at every point of a grid, in parallel and bounded memory.

    The function is traced once and compiled once, for a block of points of fixed size.
    Blocks are evaluated one after the other. A failed point has a status and doesn't
    stop the others.

    **Arguments:**

    - `fn`: a function of a point, a dictionary of the grid's coordinates. It returns a
      dictionary of arrays, each alone or as `(dimension names, array)`; or a
      `lazyrich_jax.Trajectory`, a named tuple, dataclass or module of arrays, or one
      array. `jax.vmap` must be able to transform it. A `result` of
      `lazyrich_jax.RESULTS` in the dictionary determines the point's status.
    - `grid`: a `Grid`.
    - `store`: a path for a zarr group (`~` and `$VARIABLE` are expanded), or, if fsspec
      is installed, a URL such as `"s3://bucket/x.zarr"`. Finished blocks are written
      there instead of being held in memory. The same sweep, run again, resumes.
    - `chunk_size`: points per block; by default as many as fit in `memory`.
    - `memory`: the bytes that a block may use, by the compiler's analysis of its
      program; by default a gigabyte, or a quarter of the free memory if that is less.
    - `mesh`: the devices that share a block; by default all local ones. One device of
      a CPU runs the program in several threads. A mesh that `jax.set_mesh` has set is
      ignored.
    - `order`: an axis whose absolute values measure stiffness. Points of similar
      stiffness then share blocks. This speeds up numerical flows.
    - `dtype`: the dtype of the grid's floating-point coordinates, float32 or float64;
      by default JAX's. Other arrays in `fn` keep their dtypes.
    - `coords`: coordinates for the dimensions of the results, such as
      `{"time": ts}`.
    - `config`: a dictionary that can be written as JSON. It is recorded; a different
      one makes a different sweep.
    - `progress`: whether to show a bar and print a summary.

    **Returns:** an `xarray.Dataset` with the grid's axes first and a `status` of every
    point (`flag_meanings` in its attributes). The attribute `error` is the reason of
    the first failure. Structured attributes (`sweep`, `versions`) are JSON text. Data
    of a `store` are read when they are used.

    **Raises:** before any computation, `ValueError` or `TypeError` for bad arguments,
    names that a store can't hold and bad results of `fn`; `ValueError` for a store of
    another sweep, with the differences; `RuntimeError` if another sweep is writing to
    the store; `OSError` if the store can't be written, in which case its finished
    blocks are safe.

    Under `jax.distributed` every process calls this with the same arguments and a
    `store` that all can reach. Each computes its share of the blocks.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0))
    ts = jnp.linspace(0, 5, 20)


    def losses(point):
        init = lr.LambdaBalanced(point["lmda"], 0.3, throw=False)
        start = init(3, 2, 2, key=point["key"])
        return {"loss": ("time", lr.ExactSolution(start, task, throw=False).loss(ts))}


    keys = jax.random.split(jax.random.key(1), 5)
    grid = lr.sweeps.Grid(lmda=jnp.linspace(-5, 5, 11), key=keys)
    data = lr.sweeps.run(losses, grid, coords={"time": ts}, progress=False)
    print(data.loss.mean("key").sizes)
    ```
    """
    _checks.require(callable(fn), f"`fn` must be a function, but it was {fn!r}.")
    _checks.instance("grid", grid, Grid, "`Grid(lmda=[0.0, 1.0])`, for example")
    dtype = checked_dtype(dtype)
    mesh = checked_mesh(mesh)
    config = checked_config(config)
    path = None if store is None else checked_store(store)
    if chunk_size is not None:
        chunk_size = _checks.size("chunk_size", chunk_size)
    processes, process = jax.process_count(), jax.process_index()
    _checks.require(
        processes == 1 or isinstance(path, pathlib.Path),
        f"`store` must be a path for {processes} processes, but it was {store!r}.",
    )
    ordered, back = (grid, None) if order is None else grid.ordered(order)
    lanes = Lanes(fn, ordered.template(dtype), mesh)
    plan = Plan(
        grid=ordered,
        back=back,
        dtype=dtype,
        lanes=lanes,
        coords=checked_coords(coords, lanes, ordered),
        config=config,
        chunk_size=chunk_size,
        memory=checked_memory(memory),
    )
    if path is None:
        results = Memory(plan)
        _loop(plan, results, results.blocks, [], None, progress)
    else:
        heartbeat = Heartbeat(path, process, processes)
        with held(path, process), heartbeat as heart:
            results = _opened(path, plan, heart)
            with _writing(results):
                if process == 0:
                    results.mend(plan.coords)
                mine = results.blocks[process::processes]
                todo = [block for block in mine if results.pending(block)]
                done = [block for block in mine if block not in todo]
                _loop(plan, results, todo, done, heart, progress)
                _wait_for_others(results, heart)
    data = results.dataset()
    if progress and process == 0:
        print(summary(data.status.values, data.attrs.get("error")))
    return _restored(data)


def load(path: str | os.PathLike) -> "xarray.Dataset":
    """The results of a sweep so far; data are read when they are used.

    `path` is a path or a URL, like the `store` of `run`.

    **Raises:** `ValueError` if `path` holds no sweep.
    """
    return _restored(Store.open(place("path", path), "r").dataset())


def _loop(
    plan: Plan,
    results: Memory | Store,
    todo: list[Slices],
    done: list[Slices],
    heart: Heartbeat | None,
    progress: bool,
) -> None:
    """Compute every block of `todo`; the bar begins with the blocks of `done`."""
    from tqdm import tqdm

    before = sum(_count(b) for b in done)
    total = before + sum(_count(b) for b in todo)
    hidden = not (progress and todo)
    with tqdm(total=total, initial=before, unit=" points", disable=hidden) as bar:
        for block in todo:
            if heart is not None:
                heart.check()
            results.write(block, plan.values(block, math.prod(results.block)))
            if plan.lanes.error is not None:
                results.note("error", plan.lanes.error)
            bar.update(_count(block))


def _count(block: Slices) -> int:
    return math.prod(s.stop - s.start for s in block)


@contextlib.contextmanager
def _writing(store: Store) -> Iterator[None]:
    """A context that reports the safe results if writing fails or is interrupted."""
    try:
        yield
    except OSError as error:
        there = f"{store.count_done()} of {len(store.blocks)} blocks"
        raise _not_written(
            error,
            f"writing to {str(store.path)!r} failed ({error.strerror or error}); "
            f"{there} are there and safe: run the same sweep again to go on",
        ) from error
    except KeyboardInterrupt as error:
        # A note follows the traceback, which is long while the program is compiled.
        error.add_note(
            f"Interrupted. Run the same sweep again to go on with {store.path}."
        )
        raise


def _not_written(error: OSError, what: str) -> OSError:
    message = f"`store` must be writable, but {what}"
    return OSError(*[e for e in (error.errno,) if e is not None], message)


def _opened(path: Place, plan: Plan, heart: Heartbeat) -> Store:
    """The store at `path`, created if missing; another sweep's store is refused."""
    if not Store.exists(path) and heart.process == 0:
        try:
            return Store.create(path, plan)
        except OSError as error:
            raise _not_written(
                error, f"{str(path)!r} could not be made ({error.strerror or error})"
            ) from error
    while not Store.exists(path):  # process 0 makes it
        heart.check()
        time.sleep(0.1)
    store = Store.open(path)
    differences = store.differences(plan.attributes)
    _checks.require(
        not differences,
        f"`store` must be of this sweep to go on with, but {str(path)!r} differs in "
        f"{'; '.join(differences)}. Choose another path.",
    )
    return store


def _wait_for_others(store: Store, heart: Heartbeat) -> None:
    """Wait until every process has written its blocks; raise an error if one stops."""
    total = len(store.blocks)
    while heart.files and store.count_done() < total:
        try:
            heart.check()
        except RuntimeError:
            if store.count_done() < total:  # it has not finished
                raise
        time.sleep(0.2)


def _restored(data: "xarray.Dataset") -> "xarray.Dataset":
    """The dataset with axes and points in the given order."""
    back = from_text(data.attrs.pop("order", None))
    if back is None:
        return data
    return data.isel({back["axis"]: back["rank"]}).transpose(*back["dims"], ...)
