"""Films of learning."""

import os
import pathlib

import numpy as np

from .. import _checks
from .._trajectory import Trajectory
from . import maps
from .style import inches
from .trajectories import check

WRITERS = {".gif": "pillow", ".mp4": "ffmpeg"}


def animate(
    trajectory: Trajectory,
    path: str | os.PathLike[str],
    which: str = "qqt",
    *,
    fps: int = 20,
) -> pathlib.Path:
    r"""Write a film of a representation, with a frame for every time of the trajectory.

    All frames share one colour scale.

    **Arguments:**

    - `trajectory`: a `Trajectory`. Each of its times becomes a frame; infinity may be
      the last.
    - `path`: the file to write, `.gif` or `.mp4`. An mp4 needs the program ffmpeg:
      matplotlib looks for it on `PATH` and at its setting `animation.ffmpeg_path`.
    - `which`: `"input"`, `"output"`, `"function"` or `"qqt"`, as for `representation`.
    - `fps`: frames per second, an integer.

    **Returns:** the path.

    **Raises:** before anything is drawn, `TypeError` for other types than a trajectory;
    `ValueError` for a batch of trajectories, an unknown `which`, another ending of
    `path`, an ending that can't be written here, or a folder that doesn't exist.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(0.0, scale=0.1)(4, 4, 4, key=jax.random.key(0))
    trajectory = lr.learn(network, task, jnp.linspace(0, 30, 5))
    print(lr.plot.animate(trajectory, "input.gif", "input"))
    ```
    """
    from matplotlib.animation import writers
    from matplotlib.figure import Figure

    check("trajectory", trajectory)
    path = _check_path(path)
    fps = _checks.size("fps", fps)
    found = maps.values_of(trajectory, which)
    _checks.finite("trajectory", found)
    values = np.asarray(found)
    limit = float(np.abs(values).max()) or 1.0

    figure = Figure(figsize=inches(4.4, 4.0), dpi=110, layout="compressed")
    ax = maps.representation(
        trajectory, which, index=0, limit=limit, ax=figure.subplots()
    )
    # The layout is computed once: a longer title must not move the picture.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    writer = writers[WRITERS[path.suffix.lower()]](fps=fps)
    with writer.saving(figure, str(path), figure.dpi):
        for index, frame in enumerate(values):
            ax.images[0].set_data(frame)
            ax.set_title(maps.title(which, trajectory.ts[index]))
            writer.grab_frame()
    return path


def animate_qqt(
    trajectory: Trajectory, path: str | os.PathLike[str], *, fps: int = 20
) -> pathlib.Path:
    r"""Write a film of $QQ^\top$ (two layers): `animate` with `which="qqt"`.

    **Arguments, returns, raises:** as `animate`.
    """
    return animate(trajectory, path, "qqt", fps=fps)


def _check_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """`path`; refused unless an animation can be written there."""
    from matplotlib.animation import writers

    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    able = [end for end, writer in WRITERS.items() if writers.is_available(writer)]
    missing = ""
    if suffix == ".mp4" and suffix not in able:
        missing = (
            " ffmpeg, which an mp4 needs, isn't installed: install it by `apt`, `brew` "
            "or `conda`, or `pip install imageio-ffmpeg` and set "
            "`matplotlib.rcParams['animation.ffmpeg_path'] = "
            "imageio_ffmpeg.get_ffmpeg_exe()`."
        )
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
