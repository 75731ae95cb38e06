"""Bad input of recorders, models without a trajectory, and files that do not fit."""

import equinox as eqx
import jax
import numpy as np
import pytest

from .test_recorder import MODEL, UNBIASED, Recorder, X, Y


def test_other_models_have_no_trajectory():
    for model, message in (
        (eqx.nn.MLP(3, 2, 4, 1, **UNBIASED), "`model` must be linear"),
        (MODEL, "biases and other parameters"),
        (ONE, "`layout` must be"),
        ({"0.weight": np.ones((2, 5))}, "must have the task's 3 inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            keeping(model).trajectory()


def keeping(*models):
    recorder = Recorder(X, Y)
    for step, model in enumerate(models):
        recorder.keep(step, model)
    return recorder


def loaded(path, recorder, like):
    recorder.save(path)
    return Recorder.load(path, like=like)


ONE, NEXT = {"w": np.ones((2, 3))}, {"w": np.ones((3, 3))}


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda _: Recorder(X, steps="all"), ValueError, '"doubling", but'),
        (
            lambda _: Recorder(X, steps=[]),
            ValueError,
            "`steps` must hold a",
        ),
        (
            lambda _: Recorder(X, steps=0),
            ValueError,
            "`steps` must be an in",
        ),
        (
            lambda _: Recorder(X, steps=[-1]),
            ValueError,
            "`steps` must not b",
        ),
        (
            lambda _: Recorder(X, steps=[0.5]),
            TypeError,
            "`steps` must be an",
        ),
        (lambda _: Recorder("a"), TypeError, "`x` must be a real number or array"),
        (lambda _: Recorder(X[:0]), ValueError, "`x` must hold samples"),
        (lambda _: Recorder(X, X[:2]), ValueError, "`y` must have 7 rows, as `x`"),
        (lambda _: Recorder(X, apply=3), TypeError, "`apply` must be a function"),
        (
            lambda path: loaded(path, keeping(ONE), None),
            TypeError,
            "`like` must hold arrays",
        ),
        (
            lambda _: Recorder(X)(1.0, ONE),
            TypeError,
            "`step` must be an int",
        ),
        (
            lambda _: Recorder(X)(-1, ONE),
            ValueError,
            "`step` must not be ne",
        ),
        (lambda _: keeping({"w": 1.0}), TypeError, "`model` must hold arrays of JAX"),
        (lambda _: keeping(ONE, NEXT), ValueError, "`w`, float64[3, 3], was that of"),
        (
            lambda _: keeping(ONE, ONE | {"z": np.ones(1)}),
            ValueError,
            "keep its struct",
        ),
        (
            lambda _: keeping(ONE, {"v": np.ones((2, 3))}),
            ValueError,
            "the array of `v`",
        ),
        (lambda _: keeping().end, ValueError, "`recorder` must hold a state"),
        (lambda _: keeping().losses(), ValueError, "`recorder` must hold a state"),
        (lambda _: keeping(ONE).losses(), TypeError, "`model` must be callable on one"),
        (
            lambda path: loaded(path, keeping(ONE), NEXT),
            ValueError,
            "(3, 3), and (2, 3)",
        ),
        (
            lambda path: loaded(path, keeping(ONE), {"v": np.ones(2)}),
            ValueError,
            "v, w was in one of them alone",
        ),
        (
            lambda _: jax.jit(lambda w: keeping({"w": w}))(X),
            TypeError,
            "`model` must be concrete",
        ),
        (
            lambda _: jax.jit(lambda k: keeping().wants(k))(1),
            TypeError,
            "`step` must be a number of the host",
        ),
    ],
)
def test_bad_input_is_named(untyped, tmp_path, call, kind, message):
    with pytest.raises(kind) as error:
        call(tmp_path / "a.npz")
    assert message in str(error.value)


def test_targets_and_files_that_do_not_fit(tmp_path):
    without = Recorder(X)
    labels = Recorder(X, np.zeros(7, int))
    for recorder, message in (without, "must be given"), (labels, "one_hot"):
        recorder.keep(0, MODEL)
        with pytest.raises(ValueError, match=message):
            recorder.losses()
    np.savez(tmp_path / "a.npz", w=X)
    with pytest.raises(ValueError, match="wrote, but it held w"):
        Recorder.load(tmp_path / "a.npz", like=MODEL)
    (tmp_path / "text.npz").write_text("nothing")
    np.save(tmp_path / "one.npy", X)
    for name in ("text.npz", "one.npy"):
        with pytest.raises(ValueError, match="wrote, but it held no named arrays"):
            Recorder.load(tmp_path / name, like=MODEL)
