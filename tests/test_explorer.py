"""The explorer's modules and page compute the library's numbers.

node and a headless browser run the modules. Without them the tests are skipped, unless
CI is set.
"""

import contextlib
import functools
import html
import http.server
import io
import json
import os
import pathlib
import queue
import re
import runpy
import shutil
import subprocess
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import _explore
from lazyrich_jax._explore import script

HERE = pathlib.Path(__file__).parent
EXPLORER = HERE.parent / "docs" / "explorer"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TOLERANCE = 1e-10
WAIT = 240  # seconds for the browser's answer
PAGE = runpy.run_path(str(EXPLORER.parent / "site" / "explorer.py"))["page"]()
pytestmark = pytest.mark.timeout(900)  # one fixture compiles six programs


def program(*names):
    """The path of a program under one of its names; the test is skipped without it."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing = f"`{names[0]}` must be installed for this test, but it was not."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the site's page and its modules, beside their tests."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(EXPLORER, site / "explorer")
    (site / "explorer" / "index.html").write_text(PAGE, "utf-8")
    shutil.copytree(HERE / "explorer", site / "tests")
    shutil.copy(EXPLORER / "package.json", site / "tests")
    (site / "tests" / "widget.js").write_text(script(), "utf-8")
    (site / "tests" / "widget.json").write_text(json.dumps(notebook()))
    return site


def notebook():
    """What a notebook's view gets for a task of two inputs and one output."""
    courses = _explore._Courses(lr.Task.from_correlation(jnp.ones((1, 2))))
    ts = np.linspace(0, 1, 5)
    qqt = np.arange(5 * 9.0) * np.tile(np.eye(3).ravel() + 1, 5)
    course = {"ts": ts.tolist(), "loss": (1 - ts).tolist(), "qqt": qqt.tolist()}
    course |= {"state": courses.start, **courses.constant}
    css = (EXPLORER / "style.css").read_text("utf-8")
    return {"state": courses.start, "course": course, "css": css}


@pytest.fixture(scope="module")
def node(site):
    """A function that runs the tests' modules under node."""
    path = program("node")

    def run(*args):
        command = [path, site / "tests" / "run.js", *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def cases(node):
    return node("cases")


@pytest.fixture(scope="module")
def reference(cases):
    """All cases with the library's numbers."""
    groups = {}
    for case in cases:
        shape = np.shape(case["function"]), np.shape(case["w1"])
        kind = *shape, case["isWide"], case["state"]["weightDecay"] > 0
        groups.setdefault(kind, []).append(case)
    for (*_, is_wide, _), group in groups.items():
        for case, loss, qqt in zip(group, *solved(group, is_wide), strict=True):
            case["loss"], case["qqt"] = loss.tolist(), qqt.tolist()
    return cases


def solved(group, is_wide):
    """Losses and $QQ^T$ of states of the same shapes."""

    def one(x, y, function, weights, scales, decay, ts):
        if is_wide:
            network = lr.wide_network(function, *scales)
        else:
            network = lr.LinearNetwork(weights)
        decay = {"weight_decay": decay} if decays else {}
        start = "wide" if is_wide else "balanced"
        task = lr.Task(x, y)
        solution = lr.ExactSolution(network, task, start=start, throw=False, **decay)
        return solution.loss(ts), solution.qqt(ts)

    def stacked(of):
        return jnp.stack([jnp.asarray(of(case), float) for case in group])

    decays = any(case["state"]["weightDecay"] > 0 for case in group)
    variance = stacked(lambda case: case["variance"])[:, None, None]
    n_in = len(group[0]["sigma"][0])
    # Inputs of this variance, one for each direction.
    x = jnp.sqrt(n_in * variance) * jnp.eye(n_in)[None]
    sigma = stacked(lambda case: case["sigma"])
    return jax.jit(jax.vmap(one))(
        x,
        n_in * sigma.mT / x[:, :1, :1],
        stacked(lambda case: case["function"]),
        (stacked(lambda case: case["w1"]), stacked(lambda case: case["w2"])),
        (
            stacked(lambda case: case["state"]["inputScale"]),
            stacked(lambda case: case["state"]["outputScale"]),
        ),
        stacked(lambda case: case["state"]["weightDecay"]),
        stacked(lambda case: case["ts"]),
    )


def check(compared):
    assert len(compared) == 207
    bad = [x for x in compared if not x["difference"] <= TOLERANCE or not x["isKept"]]
    assert bad == []


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site, and takes the browser's answer."""

    answers: queue.Queue

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.answers.put(json.loads(self.rfile.read(size)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format, *args):
        pass


def browser(folder, *args):
    """The command of a headless browser, with its profile in `folder`."""
    # A container has no sandbox, and little shared memory.
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run")
    flags += ("--disable-dev-shm-usage", f"--user-data-dir={folder}")
    return [program(*BROWSERS), *flags, *args]


def browsed(site, reference, folder):
    """What a headless browser answers, given the library's numbers."""
    (site / "reference.json").write_text(json.dumps(reference))
    answers = queue.Queue()
    handler = type("Answers", (Handler,), {"answers": answers})
    handler = functools.partial(handler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/tests/browser.html"
        command = browser(folder, "--remote-debugging-port=0", url)
        quiet = subprocess.DEVNULL
        running = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        try:
            return answers.get(timeout=WAIT)
        finally:
            running.terminate()
            running.wait(30)
            server.shutdown()


def test_the_page_computes_without_a_server(tmp_path):
    assert not re.search(r" (src|href)=", PAGE)  # nothing is loaded
    path = tmp_path / "page.html"
    path.write_text(PAGE, "utf-8")
    url = f"{path.as_uri()}#task=matrix&matrix=2;1&hidden=1&lmda=0.5&duration=2"
    # Milliseconds of the page's own time: it says its numbers after a rest.
    flags = ("--virtual-time-budget=5000", "--dump-dom")
    command = browser(tmp_path / "kept", *flags, url)
    page = subprocess.run(command, capture_output=True, check=True, timeout=WAIT)
    text = html.unescape(page.stdout.decode("utf-8"))
    (python,) = re.findall(r'id="python">(.*?)</code>', text, re.DOTALL)
    loss, _ = executed(python)
    assert f"the loss is {loss:.3g}," in text


def test_a_reader_can_use_the_page(site, cases, tmp_path):
    answer = browsed(site, [], tmp_path)
    assert answer.get("failed") is None, answer
    assert answer["errors"] == []
    used = answer["used"]
    assert used["unnamed"] == used["stuck"] == []
    assert used["live"] == ["story", "hidden", "copied"]
    assert used["isReached"]
    presets = {case["name"]: case for case in cases[:7]}
    assert used["presets"].keys() == presets.keys()
    for name, page in used["presets"].items():
        assert page["isTold"] and page["isDrawn"], name
        assert page["overflow"] <= 0, name  # at a phone's width
        assert "the loss is" in page["said"], name
        assert page["hash"] == presets[name]["hash"]
        assert page["python"].startswith("import jax"), name
    noted = answer["noted"]
    assert noted["isDrawn"] and noted["unnamed"] == noted["heard"] == []
    assert noted["first"] == [2.5]  # while Python computes the others wait
    assert noted["then"] == [2.5, 6.86]
    assert answer["refused"]["text"] == "1 2\n3 4"
    assert "as many numbers" in answer["refused"]["fault"]


@pytest.mark.slow
def test_a_browser_computes_the_librarys_numbers(site, reference, tmp_path):
    answer = browsed(site, reference, tmp_path)
    assert answer.get("failed") is None, answer
    print(answer["frames"])
    check(answer["compared"])


def executed(python):
    """The loss that the page's Python lines print, and all their names."""
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(python, names)
    return float(printed.getvalue().split("\n")[0]), names


@pytest.mark.slow
def test_the_python_lines_compute_the_numbers(reference):
    for case in reference[:7]:
        loss, names = executed(case["python"])
        solution, t = names["solution"], jnp.array(case["ts"])
        n_in = len(case["sigma"][0])
        assert loss == pytest.approx(float(solution.loss(names["t"])))
        np.testing.assert_allclose(solution.loss(t), case["loss"], atol=TOLERANCE)
        function = np.array(case["qqt"])[:, n_in:, :n_in]
        np.testing.assert_allclose(solution.function(t), function, atol=TOLERANCE)


@pytest.mark.slow
def test_node_computes_the_librarys_numbers(node, reference, tmp_path):
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(reference))
    check(node("compare", path))


def test_wrong_numbers_are_found(node, site):
    case = node("cases")[0]
    nothing = np.zeros((len(case["ts"]), 16, 16))
    wrong = case | {"loss": np.zeros(len(case["ts"])).tolist(), "qqt": nothing.tolist()}
    path = site / "wrong.json"
    path.write_text(json.dumps([wrong]))
    assert node("compare", path)[0]["difference"] > 0.1
