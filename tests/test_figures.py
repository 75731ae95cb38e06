"""Every figure, with fewer steps, and the command that writes them."""

import base64
import contextlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from lazyrich_jax import figures
from lazyrich_jax.__main__ import main
from lazyrich_jax.figures import FIGURES, comparison
from lazyrich_jax.figures.record import (
    Difference,
    Record,
    against_descent,
    difference,
    table,
)
from lazyrich_jax.figures.style import new_figure, thinned
from lazyrich_jax.plot.style import style

# The others take longer to compile: `.ci/run` computes all and checks their bounds.
TINY = {
    "figure1": {"steps": 400, "points": 20},
    "aligned_modes": {"points": 20},
    "continual": {"steps": 300, "tasks": 2},
}


@pytest.mark.parametrize(
    "name",
    [
        "figure1",
        *(pytest.param(x, marks=pytest.mark.slow) for x in TINY if x != "figure1"),
    ],
)
def test_it_computes_agrees_and_is_drawn_from_its_file(name, tmp_path, monkeypatch):
    figure = FIGURES[name]
    settings = figure.QUICK._replace(**TINY[name])
    monkeypatch.setattr(figure, "QUICK", settings)
    done = figures.reproduce(name, tmp_path, quick=True)
    assert done.settings == settings
    assert len(done.differences) > 0
    for d in done.differences:
        assert d.ok, d
    assert {p.suffix for p in tmp_path.iterdir()} == {".png", ".pdf", ".npz", ".txt"}
    with np.load(tmp_path / f"{name}.npz") as data:
        for key, value in data.items():
            assert value.dtype.kind != "f" or not np.any(np.isnan(value)), key
        again = figure.draw(dict(data))
    again.savefig(tmp_path / "again.png", dpi=160)
    first = (tmp_path / f"{name}.png").read_bytes()
    assert (tmp_path / "again.png").read_bytes() == first


@pytest.mark.parametrize("name", FIGURES)
def test_it_says_what_it_is(name):
    figure = FIGURES[name]
    assert figure.TITLE and figure.SOURCE
    assert type(figure.FULL) is type(figure.QUICK)
    for settings in (figure.FULL, figure.QUICK):
        text = figure.caption(settings)
        assert len(text) > 80 and "{" not in text
        assert text == " ".join(text.split())
    # The caption has numbers: its parameters.
    numbers = re.findall(r"\d+", figure.caption(figure.FULL))
    assert numbers


def test_list(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FIGURES)


@pytest.fixture
def stub(monkeypatch):
    """Figure 1 without its computation."""
    figure = FIGURES["figure1"]
    real = figure.FULL

    def install(value):
        found = [Difference("λ = <0>: loss", "flow", value, 1e-3)]
        monkeypatch.setattr(
            figure, "compute", lambda settings, track: Record({}, found)
        )
        monkeypatch.setattr(figure, "draw", lambda data: new_figure(1, 1))

    install(1e-4)
    yield install
    assert figure.FULL == real


def test_one_figure_and_its_report(stub, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert main(["reproduce", "figure1", "figure1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    text = (out / "figure1.txt").read_text()
    assert all(line in printed for line in text.splitlines())
    assert "λ = <0>: loss  flow           1.0e-04     1e-03" in text
    page = (out / "report.html").read_text()
    assert str(out / "report.html") in printed
    image = base64.b64encode((out / "figure1.png").read_bytes()).decode()
    assert f"data:image/png;base64,{image}" in page
    assert "λ = &lt;0&gt;: loss" in page
    assert "learning_rate" in page and "jax" in page
    # The page is self-contained: it fetches nothing.
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)


def test_panels_of_a_narrow_figure_keep_their_room():
    def drawn(width):
        with style(width) if width else contextlib.nullcontext():
            figure = new_figure(12.0, 6.0)
            axes = figure.subplots(2, 4)
            for ax in axes.flat:
                ax.plot([0, 1], lw=2, marker="o", label="a line")
                ax.set(title="a title", xlabel="time", ylabel="strength")
            axes[0, 0].legend()
            if width:
                thinned(figure)
            figure.draw_without_rendering()
        texts = [ax.title for ax in axes.flat] + axes[0, 0].get_legend().get_texts()
        points = 72 * figure.get_figwidth()
        line = axes[0, 0].lines[0]
        sizes = [text.get_fontsize() for text in texts]
        sizes += [line.get_linewidth(), line.get_markersize()]
        return (
            np.array([ax.get_position().bounds for ax in axes.flat]),
            np.array(sizes) / points,
        )

    places, sizes = drawn(None)
    for width in (3.35, 6.9):
        narrow, small = drawn(width)
        np.testing.assert_allclose(narrow, places, atol=0.02)
        np.testing.assert_allclose(small[-2:], sizes[-2:], rtol=1e-6)
        assert (small <= sizes * 1.001).all()


def test_a_format_a_width_and_the_browser(stub, tmp_path, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(shown.append(url)))
    command = ["reproduce", "figure1", "--format", "svg", "--width", "3.35", "--show"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert "figure1.svg" in names and "figure1.pdf" not in names
    assert 'width="241.2pt"' in (tmp_path / "figure1.svg").read_text()
    printed = capsys.readouterr()
    assert "figure1.png, .svg, .npz, .txt written" in printed.out
    assert shown == [(tmp_path / "report.html").as_uri()]
    assert "no browser was found" in printed.err
    for wrong in ("-1", "wide", "inf"):
        with pytest.raises(SystemExit, match="2"):
            main(["reproduce", "--width", wrong])
        message = f"must be a positive number of inches, but it was {wrong!r}"
        assert message in capsys.readouterr().err


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_report_opens_from_disk_in_a_browser(stub, tmp_path):
    assert main(["reproduce", "figure1", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    # The page is moved to an empty folder; the script reports the images it shows.
    alone = tmp_path / "alone" / "page.html"
    alone.parent.mkdir()
    script = (
        "onload = () => { const n = [...document.images].filter(i => i.naturalWidth);"
        "document.title = `images ${n.length}, tables ${document.querySelectorAll("
        "'table').length}` }"
    )
    alone.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    shown = subprocess.run(
        [*command, alone.as_uri()], capture_output=True, text=True, timeout=120
    ).stdout
    assert "<title>images 1, tables 3</title>" in shown


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_a_difference_that_is_too_large_is_shown(value, stub, tmp_path, capsys):
    stub(value)
    assert main(["reproduce", "figure1", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "<- too large" in captured.out
    assert "1 differences were too large" in captured.err
    assert "1 differences too large" in (tmp_path / "report.html").read_text()


def test_differences():
    a, b = np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])
    assert difference(a, b) == 0.2
    assert difference(b, b) == 0
    with pytest.raises(ValueError, match="shapes must be equal"):
        difference(a, b[:1])
    assert "too large" not in table([Difference("a", "b", 1.0, 1.0)])
    corrected = table([Difference("a", "b", 1.0, 1.0, x) for x in (0.5, 2.0)])
    good, bad = corrected.splitlines()[2:]
    assert good.endswith("5.0e-01") and bad.endswith("2.0e+00    <- too large")
    # The correction must correct, and NaN stands for its refusal.
    assert not Difference("a", "descent", 0.1, 1.0, 0.2).ok
    better = against_descent("a", 1.5 * a, a, 1.25 * a, 0.5)
    assert better.ok and better.value == 0.5 and better.corrected == 0.25
    refused = against_descent("a", a, a, np.nan * a, 0.5)
    assert refused.ok and refused.cells[-1] == "-"


@pytest.mark.slow
def test_the_exact_curves_owe_nothing_to_the_simulation():
    figure = FIGURES["figure2"]
    settings = figure.QUICK._replace(lmdas=(0.01,), steps=400, points=20)
    data = figure.compute(settings).data
    rate = settings.learning_rate / 2
    # Twice as many steps cover the same times.
    steps = 2 * data["steps"]
    task, network = figure.start(settings, 0.01)
    finer = comparison.run(network, task, steps, rate)
    for name in comparison.QUANTITIES:
        exact, same = data[f"0/exact/{name}"], finer[f"exact/{name}"]
        np.testing.assert_allclose(exact, same, rtol=1e-12, atol=1e-13)
        coarse, fine = data[f"0/descent/{name}"], finer[f"descent/{name}"]
        assert 1.8 < difference(exact, coarse) / difference(same, fine) < 2.2


def test_unknown_figure(tmp_path, capsys):
    out = tmp_path / "never"
    assert main(["reproduce", "figrue1", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "`NAME` must be one of figure1, figure2, " in message
    assert "but it was 'figrue1' (did you mean 'figure1'?)" in message
    assert not out.exists()


def test_directory_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["reproduce", "--out", str(tmp_path / "file")]) == 2
    assert "`--out` must be a directory that can be made" in capsys.readouterr().err


def test_directory_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    # Permissions would not do: root may write anywhere.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["reproduce", "--out", str(tmp_path)]) == 2
    assert "`--out` must be writable" in capsys.readouterr().err
