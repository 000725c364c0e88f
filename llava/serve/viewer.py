"""The page of `llava view`: a scan, and a conversation about it. Thin: what it draws and says is made beside it."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import viser
from viser import transforms

from llava.captures.pixels import load_color
from llava.found import color_of
from llava.geometry.boxes import FACES, edges
from llava.serve import shapes
from llava.serve.conversation import Conversation, Turn, Verb
from llava.serve.fusing import Cloud, pick
from llava.serve.words import scan_html, short, turn_html

if TYPE_CHECKING:
    from llava.scan import Scan
    from llava.types import Scene

PROPOSAL = (130, 130, 150)
PLACE = color_of(0)
PATH = (150, 150, 160)
PANEL_WIDTH = 380  # pixels
PICTURE_WIDTH = 320  # pixels of a frame's picture in the scene
CLUTTER = 40  # boxes; more than these are not shown unless one wants them
FRUSTUM = 0.22  # scale of the chosen frames' cameras
FOV = np.radians(50)
AROUND = 0.06  # metres by which an answer's box is drawn larger, so that its edges do not drown in the points
CLICK = 2.0  # voxels: how near to a point a click has to pass


class Viewer:
    """A server with the page of one scan.

    The scene, the switches and the conversation are one for all tabs; the question box is each tab's own.
    """

    def __init__(
        self,
        scene: Scene,
        cloud: Cloud,
        chosen: Sequence[int],
        cells: Callable[[], shapes.Cells],
        scan: Scan | None = None,
        host: str = "127.0.0.1",
        port: int = 8080,
    ) -> None:
        """Serve the page.

        Args:
            scene, cloud, chosen: what is shown.
            cells: makes the position-encoding cells when they are first wanted, see `shapes.encoding_cells`.
            scan: what answers; None: the page has no question box.
            host: address to listen at.
            port: at this port; 0: any that is free.

        Raises:
            ValueError: the port is taken, or one must not listen there.
        """
        check_port(host, port)
        with contextlib.redirect_stdout(io.StringIO()):  # viser greets in its own name
            self.server = viser.ViserServer(host, port, label="Video-3D LLM", verbose=False)
        self.scene, self.cloud, self.scan = scene, cloud, scan
        self.chosen, self._cells = chosen, cells
        self._colors = shapes.ramp(len(chosen))
        self.poses = np.stack([scene.frames[index].pose for index in chosen])
        self.angles = shapes.view_angles(scene.color_intrinsics, scene.color_size)
        self._low = cloud.points[:, 2] < shapes.ceiling(cloud.points)
        self._htmls: dict[int, viser.GuiHtmlHandle] = {}  # of turns, by number
        self._buttons: dict[int, viser.GuiButtonGroupHandle] = {}  # likewise: shows its boxes again
        self._drawn: list[viser.SceneNodeHandle] = []  # of the answer that is shown
        self._drawing = threading.Lock()
        self._lay_out()
        self._draw_scene()
        self.conversation = None if scan is None else Conversation(scan, self._show_turn, self._forget_turn)
        if scan is not None:
            self.server.on_client_connect(self._add_question_box)
        self.server.scene.on_click()(self._take_click)

    @property
    def port(self) -> int:
        return self.server.get_port()

    def close(self) -> None:
        """Answer nothing more and close the page; the question that is being answered ends first."""
        if self.conversation is not None:
            self.conversation.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()

    def _lay_out(self) -> None:
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=PLACE, dark_mode=True)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(PANEL_WIDTH)
        gui.add_html(scan_html(self.scene, self.cloud, self.chosen, self.scan), order=0)
        self._switches = gui.add_folder("Show", order=1)
        # The question box of each tab has order 2.
        self._history = gui.add_folder("Conversation", order=3, visible=self.scan is not None)
        eye, target = shapes.overview(self.cloud.points)
        camera = self.server.initial_camera
        camera.position, camera.look_at, camera.fov = eye, target, FOV

    def _draw_scene(self) -> None:
        scene = self.server.scene
        low, high = (self._add_points(name, keep) for name, keep in (("low", self._low), ("high", ~self._low)))
        self._add_switch("Points", low)
        if not self._low.all():
            self._add_switch("Ceiling", high, on=False)
        self._high = high
        path = shapes.path_segments(self.scene)
        if len(path):
            self._add_switch("Camera path", scene.add_line_segments("/path", path, PATH, thickness=0.008))
        self._frames = scene.add_frame("/frames", show_axes=False)
        for place in range(len(self.chosen)):
            self._add_frame(place)
        self._add_switch("Chosen frames", self._frames)
        if self.scan is not None and len(self.scan.boxes):
            self._add_switch(
                f"Proposals ({len(self.scan.boxes)})",
                scene.add_line_segments(
                    "/proposals", edges(self.scan.boxes).reshape(-1, 2, 3), PROPOSAL, thickness=0.008
                ),
                on=len(self.scan.boxes) <= CLUTTER,
            )
        self._add_cells_switch()

    def _add_points(self, name: str, keep: np.ndarray) -> viser.PointCloudHandle:
        return self.server.scene.add_point_cloud(
            f"/points/{name}",
            self.cloud.points[keep],
            self.cloud.colors[keep],
            point_size=self.cloud.voxel_size * 1.2,
            point_shape="rounded",
            point_shading="flat",
            precision="float32",
        )

    def _add_switch(self, label: str, node: viser.SceneNodeHandle, on: bool = True) -> None:
        node.visible = on
        with self._switches:
            switch = self.server.gui.add_checkbox(label, on)
        switch.on_update(lambda _: setattr(node, "visible", switch.value))

    def _add_cells_switch(self) -> None:
        with self._switches:
            switch = self.server.gui.add_checkbox(
                "Position cells", False, hint="The voxels that the patches of the chosen frames fall into"
            )
        made: list[viser.BatchedMeshHandle] = []
        lock = threading.Lock()

        def show(_: viser.GuiEvent) -> None:
            with lock:  # two quick clicks are two threads
                if not made:
                    made.append(self._draw_cells())
                made[0].visible = switch.value

        switch.on_update(show)

    def _draw_cells(self) -> viser.BatchedMeshHandle:
        cells = self._cells()
        return self.server.scene.add_batched_meshes_simple(
            "/cells",
            shapes.CUBE,
            FACES,
            batched_wxyzs=np.tile((1.0, 0, 0, 0), (len(cells.middles), 1)),
            batched_positions=cells.middles,
            batched_scales=np.full(len(cells.middles), cells.side * 0.92),
            batched_colors=self._colors[cells.views],
            opacity=0.55,
            flat_shading=True,
            lod="off",
            cast_shadow=False,
            receive_shadow=False,
        )

    def _add_frame(self, place: int) -> None:
        """The frustum of a chosen frame with its picture."""
        picture = load_color(self.scene, self.chosen[place])
        picture.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH))
        pose, (fov, aspect) = self.poses[place], self.angles
        self.server.scene.add_camera_frustum(
            f"/frames/{place}",
            fov,
            aspect,
            scale=FRUSTUM,
            thickness=0.01,
            color=tuple(self._colors[place].tolist()),
            image=np.asarray(picture),
            jpeg_quality=85,
            wxyz=transforms.SO3.from_matrix(pose[:3, :3]).wxyz,
            position=pose[:3, 3],
            cast_shadow=False,
            receive_shadow=False,
        )

    def _add_question_box(self, client: viser.ClientHandle) -> None:
        gui = client.gui
        with gui.add_form(None, order=2) as form:
            box = gui.add_text("Question", "", hint="Ask about the scan, or name what to find")
            verbs = gui.add_button_group("", ("Ask", "Find"))

        def send(verb: Verb) -> None:
            if box.value.strip():
                self.conversation.put(verb, box.value)
                box.value = ""

        form.on_submit(lambda _: send("ask"))
        verbs.on_click(lambda _: send("find" if verbs.value == "Find" else "ask"))

    def _take_click(self, event: viser.SceneClickEvent) -> None:
        """A click on a frame's picture takes the tab to where it was taken, one on a point has it described."""
        ray = (event.ray_origin, event.ray_direction)
        seen = self.cloud.points if self._high.visible else self.cloud.points[self._low]
        point = pick(seen, *ray, CLICK * self.cloud.voxel_size)
        middles, half = shapes.pictures(self.poses, *self.angles, FRUSTUM)
        middle = pick(middles, *ray, half) if self._frames.visible else None
        near, far = (np.inf if at is None else np.linalg.norm(at - ray[0]) for at in (middle, point))
        if near < far:
            pose = self.poses[(middles == middle).all(axis=1).argmax()]
            with event.client.atomic():
                event.client.camera.position = pose[:3, 3]
                event.client.camera.look_at = pose[:3, 3] + 2 * pose[:3, 2]
        elif point is not None and self.conversation is not None:
            self.conversation.put("describe", place=tuple(point.tolist()))

    def _show_turn(self, turn: Turn) -> None:
        if turn.number not in self._htmls:
            with self._history:
                self._htmls[turn.number] = self.server.gui.add_html("", order=-turn.number)  # the newest on top
        self._htmls[turn.number].content = turn_html(turn)
        if turn.state == "answered" and (turn.found or turn.place):
            self._draw_answer(turn)
            with self._history:
                button = self.server.gui.add_button_group("", ("Show again",), order=0.5 - turn.number)
            button.on_click(lambda _: self._draw_answer(turn))
            self._buttons[turn.number] = button

    def _forget_turn(self, turn: Turn) -> None:
        self._htmls.pop(turn.number).remove()
        if turn.number in self._buttons:
            self._buttons.pop(turn.number).remove()

    def _draw_answer(self, turn: Turn) -> None:
        """Show what a turn found, or the place that it describes, in place of what was shown before."""
        scene = self.server.scene
        with self._drawing, self.server.atomic():
            for node in self._drawn:
                node.remove()
            self._drawn = []
            for rank, found in enumerate(turn.found):
                label = f"{rank + 1}: {short(turn.question)}, {found.confidence:.0%}"
                self._drawn += self._draw_box(rank, found.box, label)
            if turn.place:
                ball = scene.add_icosphere("/answer/place", 0.04, PLACE, position=turn.place, cast_shadow=False)
                above = np.add(turn.place, (0, 0, 0.12))
                text = scene.add_label("/answer/text", short(turn.answer), position=above, anchor="bottom-center")
                self._drawn += [ball, text]

    def _draw_box(self, rank: int, box: np.ndarray, label: str) -> list[viser.SceneNodeHandle]:
        box = box + (0, 0, 0, AROUND, AROUND, AROUND)
        scene, color, top = self.server.scene, color_of(rank), box[:3] + (0, 0, box[5] / 2 + 0.08)
        return [
            scene.add_line_segments(f"/answer/{rank}/edges", edges(box), color, thickness=0.035),
            scene.add_box(
                f"/answer/{rank}/body",
                color,
                box[3:],
                position=box[:3],
                opacity=0.3,
                side="double",
                cast_shadow=False,
                receive_shadow=False,
            ),
            scene.add_label(f"/answer/{rank}/label", label, position=top, anchor="bottom-center"),
        ]


def check_port(host: str, port: int) -> None:
    """Raise ValueError where one cannot listen; viser would try other ports, and without end where none will do."""
    if not 0 <= port < 2**16:
        raise ValueError(f"a port is a number from 0 to {2**16 - 1}, got {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        socket.create_server(found[4][:2], family=found[0]).close()
    except OSError as error:
        raise ValueError(
            f"cannot listen at {host}:{port} ({error.strerror}): give another --port (0: any that is free) or --host"
        ) from error
