"""The files that speak of all scenes at once: splits, label map, EmbodiedScan infos, the benchmarks' annotations.

They are assembled from one record a scene (a JSON file that `make.py` leaves beside the scene), in scene order,
so that they do not depend on who made which scene when.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np

from llava.resumable import replaced

BENCHMARKS = {
    "scanrefer": "scanrefer/ScanRefer_filtered_{split}.json",
    "multi3drefer": "multi3drefer/multi3drefer_{split}.json",
    "scanqa": "scanqa/ScanQA_v1.0_{split}.json",
    "sqa3d_questions": "sqa_task/balanced/v1_balanced_questions_{split}_scannetv2.json",
    "sqa3d_annotations": "sqa_task/balanced/v1_balanced_sqa_annotations_{split}_scannetv2.json",
}
LABEL_COLUMNS = (
    *("id", "raw_category", "category", "count", "nyu40id", "eigen13id", "nyuClass", "nyu40class", "eigen13class"),
    *("ModelNet40", "ModelNet10", "ShapeNetCore55", "synsetoffset", "wnsynsetid", "wnsynsetkey", "mpcat40"),
    "mpcat40index",
)
NYU40_NAMES = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture"),
    *("counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes"),
    *("ceiling", "books", "refridgerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard"),
    *("person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture"),
    "otherprop",
)


def gather(out: Path, splits: dict[str, list[str]], records: Path) -> None:
    """Write every file that covers many scenes.

    Args:
        out: the data root.
        splits: scene names of "train", "val" and "test", in order.
        records: folder of `<scene>.json` with `align` (4, 4), `intrinsics` (3, 3), `poses` (F, 4, 4) to the raw
            world, and a list of annotations for each key of BENCHMARKS.

    As in SQA3D itself, the scenes of ScanNet's val split are shared out between SQA3D's val and test where there
    are no test scenes: every second one is test.
    """
    loaded = {name: json.loads((records / f"{name}.json").read_text()) for names in splits.values() for name in names}
    _write(out / "scannet/meta_data/scannetv2-labels.combined.tsv", label_map().encode())
    for split, names in splits.items():
        _write(out / "scannet/meta_data" / f"scannetv2_{split}.txt", "".join(f"{name}\n" for name in names).encode())
        infos = {"metainfo": {}, "data_list": [scene_info(name, loaded[name]) for name in names]}
        _write(out / "embodiedscan" / f"embodiedscan_infos_{split}.pkl", pickle.dumps(infos, protocol=4))
    for benchmark, pattern in BENCHMARKS.items():
        of_situations = benchmark.startswith("sqa3d")
        for split, names in (situation_splits(splits) if of_situations else splits).items():
            if not names and split == "test":
                continue
            rows = [row for name in names for row in loaded[name][benchmark]]
            content = {benchmark.removeprefix("sqa3d_"): rows} if of_situations else rows
            text = json.dumps(content, ensure_ascii=False)
            _write(out / "benchmark" / pattern.format(split=split), text.encode())


def label_map() -> str:
    """ScanNet's label table for the classes of rooms: tab-separated, with the columns that readers use filled in."""
    from llava.rooms.furniture import NYU40

    rows = [LABEL_COLUMNS]
    for number, (label, nyu40) in enumerate(NYU40.items(), start=1):
        known = {"id": number, "raw_category": label, "category": label, "count": 1, "nyu40id": nyu40}
        known |= {"nyuClass": label, "nyu40class": NYU40_NAMES[nyu40 - 1]}
        rows.append(tuple(str(known.get(column, "")) for column in LABEL_COLUMNS))
    return "".join("\t".join(row) + "\n" for row in rows)


def situation_splits(splits: dict[str, list[str]]) -> dict[str, list[str]]:
    """The scenes of SQA3D's train, val and test."""
    if splits["test"]:
        return splits
    return {"train": splits["train"], "val": splits["val"][0::2], "test": splits["val"][1::2]}


def scene_info(name: str, record: dict) -> dict:
    """One scene's entry of the EmbodiedScan infos: numpy arrays, strings and containers only."""
    camera = np.eye(4)
    camera[:3, :3] = record["intrinsics"]
    images = [
        {
            "img_path": f"scannet/posed_images/{name}/{k:05d}.jpg",
            "cam2global": np.array(pose, np.float64),
            "depth_path": f"scannet/posed_images/{name}/{k:05d}.png",
        }
        for k, pose in enumerate(record["poses"])
    ]
    return {
        "sample_idx": f"scannet/{name}",
        "axis_align_matrix": np.array(record["align"], np.float64).tolist(),
        "depth_cam2img": camera.tolist(),
        "cam2img": camera.tolist(),
        "images": images,
    }


def _write(path: Path, content: bytes) -> None:
    """A file that holds just this already keeps its time of change, by which `prepare` knows what is new."""
    if path.exists() and path.read_bytes() == content:
        return
    with replaced(path) as partial:
        partial.write_bytes(content)
