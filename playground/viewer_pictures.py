"""Take the README's pictures of `llava view` with a headless Chromium (minutes: without a GPU it draws slowly).

    python playground/viewer_pictures.py data-rooms-560/scannet/posed_images/scene0511_00 checkpoints/rooms \
        --find "the yellow chair beside the window" --ask "Which material is the chair made of?"

Needs `pip install playwright` and Chromium (`sh scripts/setup.sh --dev`).
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tyro.conf import Positional

from llava.complaints import run_script
from llava.serve.start import open_viewer

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = (
    "--no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking"
)
SIZE = {"width": 1280, "height": 720}
PATIENCE = 600_000  # milliseconds


def take(
    scene: Positional[Path], checkpoint: Positional[Path], find: str, ask: str, out: Path = Path("assets")
) -> None:
    """Pictures of a scan: an answer's box, and the cells of the position encoding.

    Args:
        scene: a capture.
        checkpoint: what answers.
        find: what is looked for.
        ask: what is asked.
        out: folder for viewer.jpg and viewer-cells.jpg.
    """
    from playwright.sync_api import sync_playwright

    viewer = open_viewer(scene, checkpoint, port=0)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS.split())
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://127.0.0.1:{viewer.port}")
        page.get_by_text("boxes to choose from").wait_for()
        page.get_by_text("Software WebGL rendering").locator("xpath=../..").get_by_role("button").click()
        for number, (question, button) in enumerate([(ask, "Ask"), (find, "Find")], start=1):
            page.get_by_role("textbox").first.fill(question)
            page.get_by_role("button", name=button, exact=True).click()
            page.locator(f"[data-turn='{number}'][data-state='answered']").wait_for()
        save(page, out / "viewer.jpg")
        page.get_by_role("checkbox").last.click()  # the cells
        page.mouse.move(20, 20)  # away from the hint
        save(page, out / "viewer-cells.jpg")
        browser.close()
    viewer.close()


def save(page: Page, path: Path) -> None:
    """What the page shows once it has had time to draw."""
    for _ in range(3):  # each picture waits for one more that is drawn
        page.wait_for_timeout(2000)
        shot = page.screenshot()
    Image.open(io.BytesIO(shot)).convert("RGB").save(path, quality=85, optimize=True)
    print(path)


if __name__ == "__main__":
    run_script(take, __doc__)
