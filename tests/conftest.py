"""What several tests share: one thread of torch, MNIST, the pipeline in small, a browser.

The process that hands the tests to the workers reads this first. It needs no torch, which takes long to import and is
imported only in what the workers call.
"""

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE

import forkserver
import pytest
from filelock import FileLock
from hypothesis import settings
from pipeline import ENVIRONMENT, Project
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

# No test is timed: on a busy machine a deadline would fail it for nothing.
settings.register_profile("untimed", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("untimed")


# The developer's own store and cluster play no part in the tests.
for name in ("REPLICA_STORE", "DASK_SCHEDULER_ADDRESS", "CLUSTER_WAIT"):
    os.environ.pop(name, None)


OPTIONS = """--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --window-size=1200,900"""


class Browser(webdriver.Chrome):
    """Chromium, whose `get` returns when the page is whole: on a busy machine the driver's own was seen to return when
    the first half was."""

    def get(self, url):
        super().get(url)
        WebDriverWait(self, 30, 0.05).until(lambda _: self.execute_script("return document.readyState") == "complete")


def pytest_xdist_auto_num_workers():
    """One more than there are cores: now and then one waits for a browser, a cluster or a time limit."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish():
    """What is imported stays: no garbage collection goes through it any more, which takes half a second each time."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Those that need the pipeline come first, so that no worker has a long one left when the others are done."""
    items.sort(key=lambda item: "finished" not in item.fixturenames)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """So small are these networks that a second thread would only wait."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def torch_as_it_was():
    """Nothing that a test calls in this process may change torch for the tests after it."""
    before = settings_of_torch()
    yield
    assert settings_of_torch() == before


def settings_of_torch():
    import torch

    return torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder of all of pytest's workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def mnist(shared):
    """A folder with MNIST's four files: those of this checkout, else downloaded."""
    from nnlib.data.catalogue import MNIST
    from nnlib.data.raw import download

    here = Path(__file__).parents[1] / "data" / "raw"
    if all((here / name).exists() for name in MNIST.files):
        return here
    with FileLock(shared / "mnist.lock"):
        if not (shared / "mnist").exists():
            download(shared / "mnist", MNIST, user_folder=os.environ.get("MNIST_DIR"))
    return shared / "mnist"


@pytest.fixture(scope="session")
def quick_python(shared):
    """From here on, the `python` of the programs that tests start is the fork server's, one for all workers; the usual
    one elsewhere than on Linux, since macOS's libraries do not outlive a fork and Windows has none."""
    if sys.platform != "linux":
        return
    folder = shared / "bin"
    with FileLock(shared / "bin.lock"):
        if not folder.exists():
            # Whether a program's lines are counted is said by the program's environment.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
            pytest_itself = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            command = [sys.executable, forkserver.__file__, shared / "socket", str(pytest_itself)]
            server = subprocess.Popen(command, env=environment | ENVIRONMENT, stdin=DEVNULL, stdout=PIPE)
            assert server.stdout.readline() == b"ready\n"
            folder.mkdir()
            forkserver.write_client(folder, shared / "socket")
    ENVIRONMENT["PATH"] = f"{folder}{os.pathsep}{ENVIRONMENT['PATH']}"


@pytest.fixture(scope="session")
def finished(shared, mnist, quick_python):
    """The pipeline in small, run once for all of pytest's workers; a test that changes anything works on a copy."""
    folder = shared / "finished"
    with FileLock(shared / "finished.lock"):
        if not folder.exists():
            project = Project.create(shared / "unfinished", mnist)
            project.dvc("repro")
            project.commit("results")
            project.folder.rename(folder)
    return Project(folder, mnist)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    browsers = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser, chromedriver = next(filter(None, browsers), None), shutil.which("chromedriver")
    if not (browser and chromedriver):
        give_up = pytest.fail if os.environ.get("CI") and sys.platform == "linux" else pytest.skip
        give_up("needs chromium (or google-chrome) and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in [*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Browser(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def as_before(driver):
    """Window and colours are afterwards what they were."""
    yield
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
