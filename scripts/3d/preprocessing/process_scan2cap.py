"""ScanRefer as captions -> DATA/processed/scan2cap_<split>_llava_style.json, for each split that is there."""

from pathlib import Path

from llava.complaints import run_script
from llava.prepare.run import run_step


def main(data: Path = Path("data")) -> None:
    run_step("records", data, tasks=("scan2cap",))


if __name__ == "__main__":
    run_script(main, __doc__)
