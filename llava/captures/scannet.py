"""ScanNet's ``posed_images`` layout, as the preprocessing writes it, and the axis alignment of its scenes.

posed_images/<scene>/NNNNN.{jpg,png,txt}    picture; uint16 millimetres, 0 = unknown; 4x4 camera to raw world
posed_images/<scene>/intrinsic.txt          4x4, of the pictures
posed_images/<scene>/depth_intrinsic.txt    4x4, of the depth images
"""

from __future__ import annotations

import csv
import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np

from llava.captures.gather import Listed, check_intrinsics, gather, read_matrix
from llava.types import Scene

NAME = "ScanNet posed images"
LAYOUT = "intrinsic.txt, depth_intrinsic.txt, NNNNN.{jpg,png,txt}"
PACKED = False
SPLITS = ("train", "val", "test")
ALIGNMENT = "ScanNet's alignment"  # who says which way is up
# What numpy's arrays and scalars need to be rebuilt, under the module names of numpy 1 and 2; nothing else runs.
PICKLE_ALLOWED = {
    (module, name)
    for core in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{core}.multiarray", "_reconstruct"),
        (f"{core}.multiarray", "scalar"),
        (f"{core}.numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
# What the unpickler raises over damaged bytes.
DAMAGED_PICKLE = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError),
    *(MemoryError, OverflowError, RecursionError, TypeError, ValueError),
)


def fits(path: Path) -> bool:
    return (path / "depth_intrinsic.txt").is_file() or any(path.glob("[0-9]*[0-9].jpg"))


def read(path: Path, _scratch: Path) -> Scene:
    return read_posed_images(path)


def read_posed_images(folder: Path, align: np.ndarray | None = None, name: str | None = None) -> Scene:
    """Open one scene's folder.

    Args:
        folder: ``.../posed_images/<scene>``.
        align: (4, 4) raw world -> axis-aligned world; None: looked up from the data root above ``folder``
            (``read_align``), the identity where nothing is found; then nobody says that z is up.
        name: the scene's name; default ``scannet/<folder>``.

    Raises:
        ValueError: an intrinsics file is missing or does not fit the images, or no frame is usable.
    """
    folder = folder.resolve()
    color_file, depth_file = folder / "intrinsic.txt", folder / "depth_intrinsic.txt"
    color_k, depth_k = read_matrix(color_file), read_matrix(depth_file)
    if align is None and len(folder.parents) > 2:
        align = read_align(folder.parents[2], folder.name)
    up = None if align is None else ALIGNMENT
    align = np.eye(4) if align is None else align
    stems = sorted({path.stem for path in folder.iterdir() if path.stem.isdigit()})
    listed = [Listed(s, folder / f"{s}.jpg", folder / f"{s}.png", folder / f"{s}.txt") for s in stems]
    gathered = gather(listed, align)
    return Scene(
        name=name or f"scannet/{folder.name}",
        frames=gathered.frames,
        color_size=gathered.color_size,
        depth_size=gathered.depth_size,
        color_intrinsics=check_intrinsics(color_k, gathered.color_size, color_file),
        depth_intrinsics=check_intrinsics(depth_k, gathered.depth_size, depth_file),
        align=align,
        up=up,
        dropped=gathered.dropped,
    )


def posed_images_folder(data_root: Path, name: str) -> Path:
    """Where the scene ``scannet/<scene>`` lies in a data folder."""
    dataset, _, scene = name.rpartition("/")
    return data_root / dataset / "posed_images" / scene


def data_scene_folder(data_root: Path, name: str) -> Path:
    """The same; ValueError where it is not there."""
    folder = posed_images_folder(data_root, name)
    if not folder.is_dir():
        raise ValueError(f"scene {name!r} is asked about but {folder} is missing: run `llava prepare {data_root}`")
    return folder


def read_data_scene(data_root: Path, name: str) -> Scene:
    """Open the scene ``scannet/<scene>`` of a data folder, in the axis-aligned world that its boxes are in.

    ValueError: it is not there, has no alignment (``data_align``), or as ``read_posed_images``.
    """
    folder = data_scene_folder(data_root, name)
    return read_posed_images(folder, data_align(data_root, folder.name), name)


def data_align(data_root: Path, scene: str) -> np.ndarray:
    """The (4, 4) axis alignment of a data folder's scene; the identity for a test scan, which ScanNet aligns not.

    ValueError: no alignment is recorded for a scene that ``scannetv2_test.txt`` does not list. Its frames would
    stand in another world than its boxes, and nothing later could tell.
    """
    align = read_align(data_root, scene)
    if align is not None:
        return align
    tests = data_root / "scannet" / "meta_data" / "scannetv2_test.txt"
    if tests.is_file() and scene in tests.read_text().split():
        return np.eye(4)
    infos = data_root / "embodiedscan" / "embodiedscan_infos_*.pkl"
    raise ValueError(
        f'scene {scene!r} has no axis alignment: expected a line "axisAlignment = ..." in '
        f"{_scan_text(data_root, scene)} or an entry in {infos}: get one of the two (`llava doctor {data_root}` says "
        f"where); only the scenes of {tests.name} may lack it"
    )


def read_align(data_root: Path, scene: str) -> np.ndarray | None:
    """The (4, 4) axis alignment of ``scene`` (no data-set prefix), or None where none is recorded.

    Looks into ScanNet's own ``scannet/scans/<scene>/<scene>.txt``, which is quick to read, then into
    EmbodiedScan's ``embodiedscan/embodiedscan_infos_*.pkl``, which hold the same matrices.

    ValueError: a file is there but damaged.
    """
    text = _scan_text(data_root, scene)
    if text.is_file() and (align := align_from_text(text)) is not None:
        return align
    for split in SPLITS:
        infos = data_root / "embodiedscan" / f"embodiedscan_infos_{split}.pkl"
        if infos.is_file() and (align := _aligns(infos, infos.stat().st_mtime_ns).get(f"scannet/{scene}")) is not None:
            return align
    return None


def _scan_text(data_root: Path, scene: str) -> Path:
    return data_root / "scannet" / "scans" / scene / f"{scene}.txt"


def read_label_table(path: Path) -> dict[str, int]:
    """{raw category: nyu40 id} of ``scannetv2-labels.combined.tsv``; ValueError: it is missing or damaged."""
    if not path.exists():
        raise ValueError(f"{path} is missing: it ships with ScanNet and gives labels their classes")
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            labels = {row["raw_category"]: int(row["nyu40id"]) for row in csv.DictReader(lines, delimiter="\t")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no label table of ScanNet, or is cut short ({error!r}): get it again") from error
    if not labels:
        raise ValueError(f"{path} is no label table of ScanNet, or is cut short (it holds no row): get it again")
    return labels


def read_pickle(path: Path) -> object:
    """Content of a pickle made elsewhere: plain containers, numbers, strings and numpy arrays, never code.

    ValueError: it holds anything else, or is damaged.
    """
    with path.open("rb") as file:
        try:
            return _PlainUnpickler(file).load()
        except DAMAGED_PICKLE as error:
            raise ValueError(f"{path} cannot be read as a pickle of plain data: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in PICKLE_ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}, which is not allowed")
        return super().find_class(module, name)


def align_from_text(path: Path) -> np.ndarray | None:
    """The (4, 4) axis alignment in ScanNet's ``<scene>.txt``, or None; ValueError: it is damaged."""
    for line in path.read_text(errors="replace").splitlines():
        key, _, numbers = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                values = np.array([float(number) for number in numbers.split()])
            except ValueError as error:
                raise ValueError(f"{path}: axisAlignment holds no numbers ({error}): get the file again") from error
            if values.size != 16:
                raise ValueError(f"{path}: axisAlignment has {values.size} numbers, expected 16")
            if not np.isfinite(values).all():
                raise ValueError(f"{path}: axisAlignment is not finite, and would move the scene nowhere: get it again")
            return values.reshape(4, 4)
    return None


@lru_cache(maxsize=2 * len(SPLITS))
def _aligns(infos: Path, _changed: int) -> dict[str, np.ndarray]:
    content = read_pickle(infos)
    if not isinstance(content, dict) or "data_list" not in content:
        raise ValueError(f"{infos} has no 'data_list': it is no EmbodiedScan info file")
    try:
        aligns = {
            scan["sample_idx"]: np.asarray(scan["axis_align_matrix"], np.float64)
            for scan in content["data_list"]
            if "axis_align_matrix" in scan
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{infos} is no EmbodiedScan info file ({error!r}): get it again") from error
    for scene, align in aligns.items():
        if align.shape != (4, 4) or not np.isfinite(align).all():
            raise ValueError(f"{infos}: axis_align_matrix of {scene} is no finite 4x4 matrix: get the file again")
    return aligns
