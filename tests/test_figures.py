"""The command `lazyrich`, on figures with fewer steps."""

import numpy as np
import pytest

from lazyrich_jax.__main__ import main
from lazyrich_jax.figures import FIGURES, comparison


@pytest.fixture
def short(monkeypatch):
    for figure in FIGURES.values():
        monkeypatch.setattr(figure, "STEPS", 400)


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == list(FIGURES)


def test_reproduce_everything(short, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert main(["reproduce", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        table = (out / f"{name}.txt").read_text()
        assert all(line in printed for line in table.splitlines())
        data = np.load(out / f"{name}.npz")
        assert len(data["labels"]) == 3
        for i in range(3):
            for law in comparison.LAWS:
                for quantity in comparison.QUANTITIES:
                    assert np.all(np.isfinite(data[f"{i}/{law}/{quantity}"]))
            exact, flow, descent = (
                data[f"{i}/{law}/function"] for law in comparison.LAWS
            )
            assert comparison.difference(exact, flow) < 1e-7
            assert 1e-6 < comparison.difference(exact, descent) < 1e-2
            assert f"{comparison.difference(exact, descent):.1e}" in table


def test_the_exact_curves_owe_nothing_to_the_simulation(short, monkeypatch):
    figure = FIGURES["figure2"]
    monkeypatch.setattr(figure, "LMDAS", (0.01,))
    (run,) = figure.compute()
    monkeypatch.setattr(figure, "LEARNING_RATE", figure.LEARNING_RATE / 2)
    monkeypatch.setattr(comparison, "steps_to", lambda last: 2 * run.steps)
    (finer,) = figure.compute()
    for name in comparison.QUANTITIES:
        exact, same = (r.values["exact"][name] for r in (run, finer))
        np.testing.assert_allclose(exact, same, rtol=1e-12, atol=1e-13)
        coarse, fine = (r.values["descent"][name] for r in (run, finer))
        ratio = comparison.difference(exact, coarse) / comparison.difference(same, fine)
        assert 1.8 < ratio < 2.2


def test_one_figure_by_name(short, tmp_path):
    assert main(["reproduce", "figure1", "--out", str(tmp_path)]) == 0
    assert {p.stem for p in tmp_path.iterdir()} == {"figure1"}


def test_unknown_figure(tmp_path, capsys):
    out = tmp_path / "never"
    assert main(["reproduce", "figrue1", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "`NAME` must be one of figure1, figure2, but it was 'figrue1'" in message
    assert "did you mean 'figure1'?" in message
    assert not out.exists()


def test_directory_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["reproduce", "--out", str(tmp_path / "file")]) == 2
    assert "`--out` must be a directory that can be made" in capsys.readouterr().err
