"""What the demo's page shows; in a browser where Gradio is installed (`make demo` does it)."""

import shutil
import socket
import threading
import time

import numpy as np
import pytest

from pokefast.demo import EXAMPLES, Demo, make_app, make_page
from pokefast.prediction.model_file import save_model
from pokefast.prediction.predictor import load_predictor
from tasks import load_task


@pytest.fixture(scope="module")
def demo(small, tmp_path_factory):
    """A `Demo` of a network that was not trained."""
    task, folder = load_task("task2"), tmp_path_factory.mktemp("run")
    o = task.recipe(stages=2, ema=0, precision="fp32")
    save_model(folder, task.get_learner(task.get_dls(small / "task1", o), o), o)
    return Demo(load_predictor(folder, "cpu"))


@pytest.fixture
def files(small):
    return sorted((small / "task1" / "Test").glob("*.png"))


def test_a_picture_gives_probabilities_crop_and_heat_map(demo, files):
    message, shares, crop, heat = demo(str(files[0]))
    assert message == "" and shares == demo.predictor(files[0]).probabilities
    assert crop.shape[:2] == heat.shape[:2] == (320, 320) and crop.dtype == heat.dtype == np.uint8
    assert demo(None) == ("", None, None, None)


def test_a_broken_picture_is_a_message(demo, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    message, *rest = demo(str(tmp_path / "x.png"))
    assert "not a picture" in message and str(tmp_path) not in message and rest == [None] * 3


def test_the_page_in_a_browser(demo, files, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="no Gradio: make demo installs it")
    uvicorn = pytest.importorskip("uvicorn")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: no browser test")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if not (chromium and shutil.which("chromedriver")):
        pytest.skip("no browser: install chromium and chromium-driver")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    app = make_app(make_page(demo, "a run", files[:EXAMPLES]))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        _use(driver, f"http://127.0.0.1:{port}/", files[0], demo, tmp_path)
    finally:
        driver.quit()
        server.should_exit = True
        thread.join()


def _use(driver, address, file, demo, folder):
    """Upload a picture and a broken one at a phone's width, and see what the page says."""
    size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(address)

    def wait(condition):
        for _ in range(120):
            if found := condition():
                return found
            time.sleep(0.5)
        raise AssertionError(driver.find_element("tag name", "body").text)

    def upload(path):
        wait(lambda: driver.find_elements("css selector", "input[type=file]"))[0].send_keys(
            str(path)
        )

    def body():
        return driver.find_element("tag name", "body").text

    upload(file)
    label = demo.predictor(file).label
    wait(lambda: body().count(label) >= 2)  # its heading and its row
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    names = driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert all(name.startswith((address, "blob:", "data:")) for name in names)
    driver.refresh()
    (folder / "broken.png").write_bytes(b"no picture")
    upload(folder / "broken.png")
    wait(lambda: "This picture cannot be read" in body())
