"""The compilation of a user's function of one point for many points."""

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

from .._xla import concurrent_programs, side_by_side
from . import program
from .returned import named
from .status import MEANINGS, STATUS, meaning


@dataclasses.dataclass(frozen=True)
class Output:
    """The type of one named array of the results, for one point or a grid."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def missing(self) -> Any:
        """The entry for a missing value."""
        if np.issubdtype(self.dtype, np.inexact):
            return np.nan
        return np.zeros((), self.dtype)[()]


class Lanes:
    """`fn`, traced once, and compiled once for each number of points.

    Several devices share a block in one program. Most programs use one core, so a CPU
    that is one device runs the program in several threads at the same time.
    """

    def __init__(
        self,
        fn: Callable,
        template: dict[str, jax.ShapeDtypeStruct],
        mesh: jax.sharding.Mesh,
    ):
        dims: dict[str, tuple[str, ...]] = {}
        trace = jax.make_jaxpr(lambda point: named(fn(point), dims), return_shape=True)
        with program.no_mesh():
            traced, shapes = trace(template)
        self.program = program.on_no_device(traced)
        self.fn, self.template, self.mesh = fn, template, mesh
        one_cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
        self.threads = concurrent_programs() if one_cpu else 1
        self.error: str | None = None  # the reason of the first failed point
        self._explained = {STATUS.index("ok")}  # codes with a known reason
        self.outputs = {
            k: Output(dims[k], v.shape, v.dtype) for k, v in sorted(shapes[0].items())
        }
        self._structure = jax.tree.structure(shapes)
        self._keys = sorted(template)

    def memory(self, lanes: int) -> int:
        """The bytes that `lanes` points use, summed over devices and threads."""
        with program.no_mesh():
            compiled, _ = self._compiled(self._share(lanes))
        return max(self.mesh.size, min(self.threads, lanes)) * program.memory(compiled)

    def _share(self, lanes: int) -> int:
        """The points in a run of the program: a thread's, equal on all devices."""
        share = -(-lanes // self.threads)
        return share + -share % self.mesh.size

    @functools.cache  # noqa: B019 (one for every size, as long as the sweep lives)
    def _compiled(self, lanes: int) -> tuple[Callable, Any]:
        """The program for `lanes` points, and the sharding of its arguments.

        Compilation errors are raised here.
        """
        batch = jax.vmap(jax.extend.core.jaxpr_as_fun(self.program))
        sharding: Any = jax.sharding.SingleDeviceSharding(self.mesh.devices.flat[0])
        if self.mesh.size > 1:
            spec = jax.sharding.PartitionSpec(self.mesh.axis_names)
            batch = _shard_map(batch, self.mesh, spec)
            sharding = jax.sharding.NamedSharding(self.mesh, spec)
        shapes = [
            jax.ShapeDtypeStruct((lanes, *v.shape), v.dtype, sharding=sharding)
            for v in (self.template[k] for k in self._keys)
        ]
        return program.compiled(batch, shapes, self.program, self.mesh), sharding

    def __call__(self, points: dict[str, Any], lanes: int) -> dict[str, np.ndarray]:
        """The values and the status of all points; a failed point affects no other."""
        count = len(next(iter(points.values())))
        with program.no_mesh():
            values = self._evaluate(points, count, lanes)
            if values is None:
                # Some point made the program raise: evaluation one by one finds it.
                parts = [
                    self._alone({k: v[i : i + 1] for k, v in points.items()})
                    for i in range(count)
                ]
                values = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
            self._explain(points, values["status"])
        return values

    def _alone(self, point: dict[str, Any]) -> dict[str, np.ndarray]:
        values = self._evaluate(point, 1, 1)
        if values is not None:
            return values
        missing = {
            k: np.full((1, *o.shape), o.missing, o.dtype)
            for k, o in self.outputs.items()
        }
        return {**missing, "status": np.array([STATUS.index("error")], np.int8)}

    def _evaluate(
        self, points: dict[str, Any], count: int, lanes: int
    ) -> dict[str, np.ndarray] | None:
        """The values and the status; `None` if the program raised an error."""
        share = self._share(lanes)
        compiled, sharding = self._compiled(share)
        shares = []
        for first in range(0, count, share):
            padded = np.minimum(np.arange(first, first + share), count - 1)
            columns = [points[k][padded] for k in self._keys]
            # Settings of JAX such as x64 may be this thread's: arrays have its dtypes.
            shares.append(jax.device_put(columns, sharding))
        try:
            parts = side_by_side(lambda each: jax.device_get(compiled(*each)), shares)
        except (eqx.EquinoxRuntimeError, jax.errors.JaxRuntimeError) as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(
                    "`memory` (or `chunk_size`) must be smaller: a block did not fit "
                    "on the device."
                ) from error
            self.error = self.error or _reason(error)
            return None
        flat = [np.concatenate(part) for part in zip(*parts, strict=True)]
        arrays, status = jax.tree.unflatten(self._structure, flat)
        return {k: v[:count] for k, v in {**arrays, "status": status}.items()}

    def _explain(self, points: dict[str, Any], status: np.ndarray) -> None:
        """Record the reason of a failure, once for every status.

        If the status is vague, the function is called with the point's concrete values:
        its checks can then name the bad one.
        """
        for first in sorted(np.unique(status, return_index=True)[1]):
            code = int(status[first])
            if self.error is None and code not in self._explained:
                self._explained.add(code)
                point = {k: jnp.asarray(v[first]) for k, v in points.items()}
                vague = MEANINGS[code] in ("nan", "error", "nonfinite_values")
                refusal = _refusal(self.fn, point) if vague else None
                self.error = refusal or meaning(code)


def _shard_map(
    function: Callable, mesh: jax.sharding.Mesh, spec: jax.sharding.PartitionSpec
) -> Callable:
    """The function with separate points on each device, without communication."""
    if hasattr(jax, "shard_map"):
        return jax.shard_map(
            function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
    from jax.experimental.shard_map import shard_map  # before jax 0.6

    return shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=spec, check_rep=False
    )


def _refusal(fn: Callable, point: dict[str, Any]) -> str | None:
    """The message of the error that `fn` raises for one point, if any."""
    try:
        fn(point)
    except Exception as error:  # a user's function may raise any type
        return str(error).strip().split("\n\n")[0] or type(error).__name__
    return None


def _reason(error: Exception) -> str:
    """The message inside an error of the compiled program."""
    found = re.search(r"EquinoxRuntimeError: (.+)", str(error))
    return (found[1] if found else str(error).splitlines()[0]).strip()
