"""A user's function of one point, as one compiled function of many."""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import _checks
from .._trajectory import RESULTS, Trajectory
from .status import FAILURES, STATUS

_DIMS = {
    "ts": ("time",),
    "loss": ("time",),
    "function": ("time", "out", "in"),
    "input_representation": ("time", "in", "in_"),
    "output_representation": ("time", "out", "out_"),
}


@dataclasses.dataclass(frozen=True)
class Output:
    """What the function returns for one point, under one name."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any


class Lanes:
    """`fn`, traced once, and compiled once for a fixed number of points."""

    def __init__(
        self,
        fn: Callable,
        template: dict[str, jax.ShapeDtypeStruct],
        mesh: jax.sharding.Mesh,
    ):
        dims: dict[str, tuple[str, ...]] = {}

        def named(point):
            arrays, status = _named(fn(point), dims)
            return arrays, status

        self.jaxpr, shapes = jax.make_jaxpr(named, return_shape=True)(template)
        arrays, _ = shapes
        self.template, self.mesh = template, mesh
        self.error: str | None = None  # the first that was raised for a value
        self.outputs = {
            k: Output(dims[k], v.shape, v.dtype) for k, v in sorted(arrays.items())
        }
        self._structure = jax.tree.structure(shapes)
        self._keys = sorted(template)

    def bytes_per_point(self) -> int:
        """The most that is alive at once while one point is computed (an estimate)."""
        return _peak(self.jaxpr.jaxpr)

    @functools.cache  # noqa: B019 (one for every size, as long as the sweep lives)
    def _compiled(self, lanes: int) -> Callable:
        """The program for `lanes` points; what is wrong with it shows here."""
        function = jax.extend.core.jaxpr_as_fun(self.jaxpr)

        @jax.vmap
        def batch(point):
            flat = function(*(point[k] for k in self._keys))
            return jax.tree.unflatten(self._structure, flat)

        sharding = None
        if self.mesh.size > 1:
            spec = jax.sharding.PartitionSpec(self.mesh.axis_names)
            batch = _shard_map(batch, self.mesh, spec)
            sharding = jax.sharding.NamedSharding(self.mesh, spec)
        shapes = {
            k: jax.ShapeDtypeStruct((lanes, *v.shape), v.dtype, sharding=sharding)
            for k, v in self.template.items()
        }
        return jax.jit(batch).lower(shapes).compile()

    def __call__(
        self, points: dict[str, Any], lanes: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The values of all points, and their status; failure is alone."""
        count = len(next(iter(points.values())))
        result = self._evaluate(points, count, lanes)
        if result is not None:
            return result
        # Some point made the program raise: which, they say one by one.
        parts = [
            self._alone({k: v[i : i + 1] for k, v in points.items()})
            for i in range(count)
        ]
        values = {
            k: np.concatenate([part[0][k] for part in parts]) for k in self.outputs
        }
        return values, np.concatenate([part[1] for part in parts])

    def _alone(self, point: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        result = self._evaluate(point, 1, self.mesh.size)
        if result is not None:
            return result
        missing = {
            k: np.full((1, *o.shape), _missing(o.dtype), o.dtype)
            for k, o in self.outputs.items()
        }
        return missing, np.array([STATUS.index("error")], np.int8)

    def _evaluate(
        self, points: dict[str, Any], count: int, lanes: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        """The values and the status; `None` where the program raised for a value."""
        compiled = self._compiled(lanes)
        padding = np.minimum(np.arange(lanes), count - 1)
        padded = {k: v[padding] for k, v in points.items()}
        try:
            arrays, status = jax.device_get(compiled(padded))
        except (eqx.EquinoxRuntimeError, jax.errors.JaxRuntimeError) as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(
                    "`memory` (or `chunk_size`) must be smaller: a block did not fit "
                    "on the device."
                ) from error
            self.error = self.error or _reason(error)
            return None
        return {k: v[:count] for k, v in arrays.items()}, status[:count]


def _shard_map(
    function: Callable, mesh: jax.sharding.Mesh, spec: jax.sharding.PartitionSpec
) -> Callable:
    """Each device its own points, without a word between them."""
    if hasattr(jax, "shard_map"):
        return jax.shard_map(
            function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
    from jax.experimental.shard_map import shard_map  # before jax 0.6

    return shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=spec, check_rep=False
    )


def _named(
    result: Any, dims: dict[str, tuple[str, ...]]
) -> tuple[dict[str, Array], Array]:
    """Arrays by name, their dimensions noted in `dims`; and the point's status."""
    failure = RESULTS.successful
    if isinstance(result, Trajectory):
        failure = result.result
        result = {name: (d, getattr(result, name)) for name, d in _DIMS.items()}
    elif not isinstance(result, dict):
        if isinstance(result, eqx.Module):
            fields = {
                f.name: getattr(result, f.name) for f in dataclasses.fields(result)
            }
            result = {
                k: v for k, v in fields.items() if eqx.is_array(v) or _is_result(v)
            }
        else:
            result = {"value": result}
    arrays, bad = {}, jnp.zeros((), bool)
    for name, value in result.items():
        if _is_result(value):
            failure = value
            continue
        names = None
        if isinstance(value, tuple):
            names, value = value
            names = (names,) if isinstance(names, str) else tuple(names)
        array = jnp.asarray(value)
        if names is None:
            names = tuple(f"{name}_{i}" for i in range(array.ndim))
        _checks.require(
            len(names) == array.ndim,
            f"`fn` must name every dimension of `{name}`, but it named {names} for an "
            f"array of shape {array.shape}.",
        )
        dims[name] = names
        arrays[name] = array
        if jnp.issubdtype(array.dtype, jnp.inexact):
            bad |= jnp.any(jnp.isnan(array))
    _checks.require(
        len(arrays) > 0,
        "`fn` must return at least one array (a dict of them, or a trajectory), but it "
        f"returned {result!r}.",
    )
    status = jnp.where(bad, STATUS.index("nan"), STATUS.index("ok")).astype(jnp.int8)
    for i, name in enumerate(FAILURES):
        failed = failure == getattr(RESULTS, name)
        status = jnp.where(failed, jnp.int8(len(STATUS) + i), status)
    return arrays, status


def _is_result(value: Any) -> bool:
    return isinstance(value, RESULTS)


def _reason(error: Exception) -> str:
    """The sentence of an error that came through the compiled program."""
    found = re.search(r"EquinoxRuntimeError: (.+)", str(error))
    return (found[1] if found else str(error).splitlines()[0]).strip()


def _missing(dtype: Any) -> Any:
    return np.nan if np.issubdtype(dtype, np.inexact) else 0


def _peak(jaxpr: Any) -> int:
    """The largest sum of live values in program order, inner programs included."""
    last = {}
    for i, eqn in enumerate(jaxpr.eqns):
        for var in eqn.invars:
            if not isinstance(var, jax.extend.core.Literal):
                last[var] = i
    for var in jaxpr.outvars:
        if not isinstance(var, jax.extend.core.Literal):
            last[var] = len(jaxpr.eqns)
    alive = {var: _bytes(var.aval) for var in (*jaxpr.invars, *jaxpr.constvars)}
    peak = sum(alive.values())
    for i, eqn in enumerate(jaxpr.eqns):
        inner = 0
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner_jaxpr = getattr(value, "jaxpr", value)
            if hasattr(inner_jaxpr, "eqns"):
                inner = max(inner, _peak(inner_jaxpr))
        for var in eqn.outvars:
            alive[var] = _bytes(var.aval)
        peak = max(peak, sum(alive.values()) + inner)
        for var in [v for v in alive if last.get(v, -1) <= i]:
            del alive[var]
    return peak


def _bytes(aval: Any) -> int:
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 8)
    return int(np.prod(getattr(aval, "shape", ()), dtype=np.int64)) * itemsize
