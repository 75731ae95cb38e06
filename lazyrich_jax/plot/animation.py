"""Animations of learning."""

import os
import pathlib

import numpy as np

from .. import _checks
from .._trajectory import Trajectory
from . import maps
from .trajectories import check

WRITERS = {".gif": "pillow", ".mp4": "ffmpeg"}


def animate_qqt(
    trajectory: Trajectory, path: str | os.PathLike[str], *, fps: int = 20
) -> pathlib.Path:
    r"""Write an animation of $QQ^\top$, with a frame for every time of the trajectory.

    The blocks of $QQ^\top$ are the input representation, the function, its transpose
    and the output representation (two layers). All frames share one colour scale.

    **Arguments:**

    - `trajectory`: a `Trajectory` of a two-layer network. Each of its times becomes a
      frame; infinity may be the last.
    - `path`: the file to write: `.gif`, or `.mp4` if ffmpeg is installed.
    - `fps`: frames per second, an integer.

    **Returns:** the path.

    **Raises:** before anything is drawn, `TypeError` for other types than a trajectory;
    `ValueError` for a batch of trajectories, another ending of `path`, an ending that
    can't be written here, or a folder that doesn't exist.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(0.0, scale=0.1)(4, 4, 4, key=jax.random.key(0))
    trajectory = lr.learn(network, task, jnp.linspace(0, 30, 5))
    print(lr.plot.animate_qqt(trajectory, "qqt.gif"))
    ```
    """
    from matplotlib.animation import writers
    from matplotlib.figure import Figure

    check("trajectory", trajectory)
    path = _check_path(path)
    fps = _checks.size("fps", fps)
    values = np.asarray(trajectory.qqt)
    _checks.finite("trajectory", trajectory.qqt)
    limit = float(np.abs(values).max()) or 1.0

    figure = Figure(figsize=(4.4, 4.0), dpi=110, layout="constrained")
    ax = maps.representation(
        trajectory, "qqt", index=0, limit=limit, ax=figure.subplots()
    )
    # The layout is computed once: a longer title must not move the picture.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    writer = writers[WRITERS[path.suffix.lower()]](fps=fps)
    with writer.saving(figure, str(path), figure.dpi):
        for index, frame in enumerate(values):
            ax.images[0].set_data(frame)
            ax.set_title(maps.title("qqt", trajectory.ts[index]))
            writer.grab_frame()
    return path


def _check_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """`path`; refused unless an animation can be written there."""
    from matplotlib.animation import writers

    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    able = [end for end, writer in WRITERS.items() if writers.is_available(writer)]
    missing = ""
    if suffix in set(WRITERS) - set(able):
        missing = f" {WRITERS[suffix]}, which it needs, isn't installed."
    _checks.require(
        suffix in able,
        f"`path` must end in what can be written here ({', '.join(able)}), but it was "
        f"{str(path)!r}.{missing}",
    )
    _checks.require(
        path.parent.is_dir(),
        f"`path` must be in a folder that exists, but it was {str(path)!r}.",
    )
    return path
