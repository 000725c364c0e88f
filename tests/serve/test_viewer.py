"""The page in a browser: points from the start, an answer's box once it was asked for, in every tab."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

from llava.found import color_of
from llava.geometry.camera import project
from llava.scan import Scan
from llava.serve import shapes
from llava.serve.fusing import pick
from llava.serve.start import keep_open, open_viewer
from llava.serve.viewer import CLICK, FOV, FRUSTUM, PANEL_WIDTH, Viewer, check_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 240  # seconds; where nothing else runs a few are enough
WINDOW = {"width": 960, "height": 480}


@pytest.fixture(scope="module")
def scan_folder(rooms_data: Path, tiny_base: Path) -> Path:
    """A scan in which the model of random weights finds something."""
    folders = sorted(path for path in (rooms_data / "scannet/posed_images").iterdir() if path.is_dir())
    return next(folder for folder in folders if Scan(tiny_base, folder).find("the chair"))


@pytest.fixture(scope="module")
def viewer(scan_folder: Path, tiny_base: Path) -> Iterator[Viewer]:
    made = open_viewer(scan_folder, tiny_base, port=0)
    yield made
    made.close()


def open_page(browser: Browser, viewer: Viewer, asked: list[str]) -> Page:
    """A tab that has been drawn; the addresses that it asks for come into the list."""
    page = browser.new_page(viewport=WINDOW)
    page.set_default_timeout(PATIENCE * 1000)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{viewer.port}")
    page.get_by_text("boxes to choose from").wait_for()
    page.get_by_text("Software WebGL rendering").locator("xpath=../..").get_by_role("button").click()
    return page


def drawn(page: Page) -> np.ndarray:
    """The scene (H, W, 3) as it is drawn now."""
    scene = {"x": 0, "y": 0, "width": WINDOW["width"] - PANEL_WIDTH, "height": WINDOW["height"]}
    shot = page.screenshot(clip=scene)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def of_points(picture: np.ndarray, viewer: Viewer) -> np.ndarray:
    """(H, W) bool: the most usual colour of the points, more or less; the background is much darker."""
    usual = np.median(viewer.cloud.colors[viewer.cloud.points[:, 2] < 1], axis=0)
    return np.abs(picture - usual).max(axis=-1) <= 40


def of_answer(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of the best answer's hue, however bright it comes out."""
    best = np.array(color_of(0))
    strength = picture.max(axis=-1) / best.max()
    return (np.abs(picture - best * strength[..., None]).max(axis=-1) <= 60) & (strength > 0.6)


def wait_until(page: Page, seen: Callable[[np.ndarray], bool]) -> np.ndarray:
    until = time.monotonic() + PATIENCE
    while not seen(picture := drawn(page)):
        assert time.monotonic() < until, "the scene does not show it"
        page.wait_for_timeout(200)
    return picture


def ask(page: Page, question: str, button: str) -> None:
    page.get_by_role("textbox").first.fill(question)
    page.get_by_role("button", name=button, exact=True).click()


def turn(page: Page, number: int, state: str) -> str:
    """What the page says of a turn, once it is answered or has failed, whichever it should."""
    found = page.locator(f"[data-turn='{number}']:is([data-state='answered'], [data-state='failed'])")
    found.wait_for()
    assert found.get_attribute("data-state") == state, found.inner_text()
    return found.inner_text()


def pixels(points: np.ndarray, viewer: Viewer) -> np.ndarray:
    """Where (p, 2) the first look at the scene shows points (p, 3)."""
    eye, target = shapes.overview(viewer.cloud.points)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0, 0, 1)) / np.linalg.norm(np.cross(forward, (0, 0, 1)))
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)
    width, height = WINDOW["width"] - PANEL_WIDTH, WINDOW["height"]
    focal = height / 2 / np.tan(FOV / 2)
    return project(points, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), pose)[0]


def place_to_click(viewer: Viewer) -> np.ndarray:
    """A point (3,) that the first look at the scene shows in front of all others, and that the model has seen."""
    known = viewer.scan.views.coords[viewer.scan.views.valid]
    shown = viewer.cloud.points[viewer.cloud.points[:, 2] < shapes.ceiling(viewer.cloud.points)]
    inside = shown[(shown > known.min(axis=0)).all(axis=1) & (shown < known.max(axis=0)).all(axis=1)]
    middles, half = shapes.pictures(viewer.poses, *viewer.angles, FRUSTUM)
    eye = shapes.overview(viewer.cloud.points)[0]
    for point in inside[:: max(1, len(inside) // 200)]:
        first = pick(shown, eye, point - eye, CLICK * viewer.cloud.voxel_size)
        in_the_way = pick(middles, eye, point - eye, 2 * half)
        if np.linalg.norm(first - point) < 0.05 and in_the_way is None:
            return point
    raise AssertionError("no point of the scan can be clicked at")


def test_a_question_gets_its_box_and_later_tabs_see_it(
    browser: Browser, viewer: Viewer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asked: list[str] = []
    page = open_page(browser, viewer, asked)
    before = wait_until(page, lambda picture: of_points(picture, viewer).sum() > 2000)
    alike = of_answer(before).sum()  # edges of the frames' pictures can come out in that hue
    assert alike < 50

    ask(page, "the chair", "Find")
    confidence = viewer.scan.find("the chair")[0].confidence
    assert f"1: {confidence:.0%}" in turn(page, 1, "answered")
    after = wait_until(page, lambda picture: of_answer(picture).sum() > 100 + alike)
    assert of_points(after, viewer).sum() > 1500  # the points are still there
    page.screenshot(path=tmp_path_factory.mktemp("viewer") / "answer.png")  # for whoever wants to look

    point = place_to_click(viewer)
    page.mouse.click(*pixels(point, viewer))
    assert turn(page, 2, "answered").startswith("describe (")
    assert np.linalg.norm(np.subtract(viewer.conversation.turns[2].place, point)) < 0.1
    ask(page, "what is <ground>?", "Ask")
    assert "is a mark of the prompt's own" in turn(page, 3, "failed")
    page.get_by_role("textbox").first.fill("what color is the table?")
    page.keyboard.press("Enter")
    assert viewer.scan.ask("what color is the table?") in turn(page, 4, "answered")
    (tab,) = viewer.server.get_clients().values()
    page.mouse.click(*pixels(shapes.pictures(viewer.poses[:1], *viewer.angles, FRUSTUM)[0][0], viewer))
    wait_until(page, lambda _: np.allclose(tab.camera.position, viewer.poses[0, :3, 3], atol=1e-3))
    assert len(viewer.conversation.turns) == 4  # a click on a frame describes nothing
    page.close()

    other = open_page(browser, viewer, asked)
    assert "what color is the table?" in turn(other, 4, "answered")
    assert other.get_by_role("textbox").first.input_value() == ""
    other.close()
    assert {urlparse(url.removeprefix("blob:")).netloc for url in asked} == {f"127.0.0.1:{viewer.port}"}


def test_a_taken_port_is_told_before_any_work(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ValueError, match=r"cannot listen at .*Address already in use.*--port"),
    ):
        open_viewer(tmp_path, port=taken.getsockname()[1])
    with pytest.raises(ValueError, match="from 0 to 65535, got 70000"):
        check_port("127.0.0.1", 70000)
    with pytest.raises(ValueError, match="cannot listen at no-such-host"):
        check_port("no-such-host.invalid", 0)


def test_ctrl_c_ends_the_command_politely(scan_folder: Path) -> None:
    command = [sys.executable, "-m", "llava.cli", "view", str(scan_folder), "--port", "0"]
    # What a shell starts in the background ignores SIGINT, and so would what it starts.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=listen) as running:
        try:
            assert running.stdout.readline().startswith("open http://127.0.0.1:")
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert (running.returncode, out.strip(), err) == (0, "ended", "")


def test_the_address_of_an_ip6_host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A browser takes its colons for the port's without brackets."""

    def ctrl_c(_: threading.Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llava.serve.start.threading.Event.wait", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        keep_open(SimpleNamespace(port=8080, close=lambda: None), "::1")
    assert capsys.readouterr().out.startswith("open http://[::1]:8080 in a browser")
