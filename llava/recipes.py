"""Named, complete configurations: the only place where choices are made.

A recipe is composed of the parts' own configs, can be overridden from the command line
(`llava train rooms --train.packs 500`), is saved whole beside every checkpoint and read back from there by
evaluation, so that prompt, frames, coordinates and encoding cannot drift apart.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from llava.data.chat import Chat
from llava.data.compat import MODES, Mode, Precision
from llava.encoders import encoder_fields, find_encoder
from llava.encoders.siglip import Siglip
from llava.model.language import Language
from llava.model.positions import Positions
from llava.resumable import read_json
from llava.train_config import DataConfig, TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.model.scene_lm import SceneLM, SceneLMConfig

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class GroundHead:
    """The head that chooses among boxes."""

    hidden_size: int | None = None  # None: the language model's width
    input_norm: bool = False  # LayerNorm on object features: small models learn faster with it
    temperature: float = 0.07


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on besides the data folder."""

    name: str
    encoder: Any = field(default_factory=Siglip)  # the configuration of one of ENCODERS
    positions: Positions = field(default_factory=Positions)
    language: Language = field(default_factory=Language)
    head: GroundHead = field(default_factory=GroundHead)
    chat: Chat = field(default_factory=Chat)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    compat: Literal["ours", "video3d"] = "ours"  # "video3d": as the published weights and scores were made
    base: str | None = None  # checkpoint folder or hub id to start from; None: random weights
    blind_packs: int = 0  # packs that a twin which sees nothing is trained on, for comparison; 0: no twin
    rooms: int = 0  # scenes of the embedded data set that the quickstart makes; 0: this recipe is for ScanNet

    @property
    def mode(self) -> Mode:
        """What `compat` means."""
        return MODES[self.compat]

    @property
    def training_precision(self) -> Precision:
        """In which training counts coordinates and boxes."""
        return self.mode.bf16_training if self.train.precision == "bf16" else "float32"

    def to_dict(self) -> dict[str, Any]:
        """As `recipe.json` holds it; `load_recipe` reads it back."""
        return {**asdict(self), "encoder": encoder_fields(self.encoder)}


_SMALL_EYES = Siglip(image_size=144, patch_size=12, hidden_size=128, intermediate_size=384, num_layers=5, num_heads=4)
_SMALL_POSITIONS = Positions(temperature=10.0, scale=0.3, coord_scale=3.0, lo=(-5.0, -5.0, -0.5), hi=(5.0, 5.0, 3.5))
_SMALL_LANGUAGE = Language(
    hidden_size=192,
    intermediate_size=512,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    tie_embeddings=True,
    initializer_range=0.07,
)
ROOMS_BASE = "assets/rooms-base"

ROOMS = Recipe(
    name="rooms",
    encoder=_SMALL_EYES,
    positions=_SMALL_POSITIONS,
    language=_SMALL_LANGUAGE,
    head=GroundHead(input_norm=True),
    data=DataConfig(max_frames=8, train_boxes="gt+pred"),
    train=TrainConfig(
        packs=8000,
        questions_per_scene=16,
        lr=1e-3,
        lr_projector=3e-4,
        tune=("projector", "language", "positions", "head"),
        precision="bf16",
        turn=True,
    ),
    base=ROOMS_BASE,
    blind_packs=2000,
    rooms=560,
)
ROOMS_DEBUG = replace(
    ROOMS,
    name="rooms-debug",
    data=replace(ROOMS.data, max_frames=3),
    train=replace(ROOMS.train, packs=12, questions_per_scene=6, save_steps=4, log_steps=1),
    blind_packs=4,
    rooms=8,
)
ROOMS_FROM_PICTURES = replace(
    ROOMS,
    name="rooms-base",
    data=replace(ROOMS.data, tasks=("pictures",), train_boxes="none"),
    train=replace(ROOMS.train, packs=10000, lr_matrices=3e-3, turn=False, threads=1, log_steps=50, save_steps=1000),
    base=None,
    blind_packs=0,
    rooms=0,
)
# As published (Video-3D LLM, section 4.1, and its training script); rates and warm-up are the defaults of TrainConfig.
VIDEO3D_7B = Recipe(
    name="video3d-7b",
    data=DataConfig(strategy="uniform"),
    train=TrainConfig(
        global_batch=16,
        precision="bf16",
        gradient_checkpointing=True,
        deepspeed="scripts/zero3.json",
        workers=4,
    ),
    compat="video3d",
)
VIDEO3D_7B_COVERAGE = replace(
    VIDEO3D_7B, name="video3d-7b-mc-ratio95", data=replace(VIDEO3D_7B.data, strategy="mc-ratio95")
)
# Not published: rank and rates are those of LLaVA-1.5's LoRA recipe (Liu et al. 2024), from memory; for one 80 GB GPU.
# The rows of `<ground>` and `<coord>` stay the means that they start as. `<ground>` is read with the same row in every
# question, so that the first layer's adapters can make any vector of it; `<coord>` is its position encoding, nearly.
VIDEO3D_7B_LORA = replace(
    VIDEO3D_7B,
    name="video3d-7b-lora",
    train=replace(
        VIDEO3D_7B.train,
        lora_rank=128,
        lora_alpha=256.0,
        lr=2e-4,
        lr_projector=2e-5,
        tune=("projector", "language", "positions", "head"),
        deepspeed=None,
    ),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        ROOMS_DEBUG,
        ROOMS,
        ROOMS_FROM_PICTURES,
        VIDEO3D_7B,
        VIDEO3D_7B_COVERAGE,
        VIDEO3D_7B_LORA,
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError with the nearest name otherwise."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}; did you mean {near!r}?")
    return RECIPES[name]


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> SceneLM:
    """The recipe's model with random weights; on the meta device under `torch.device("meta")`."""
    from llava.data.chat import COORD, GROUND, SCENE

    return sized_model(recipe, len(tokenizer), tuple(tokenizer.convert_tokens_to_ids([SCENE, GROUND, COORD])))


def sized_model(recipe: Recipe, vocabulary: int, marks: tuple[int, int, int]) -> SceneLM:
    """As `new_model`, for a tokenizer of so many ids, among them those of the scene, `<ground>` and `<coord>`."""
    from llava.model.scene_lm import SceneLM, SceneLMConfig

    scene, ground, coord = marks
    config = SceneLMConfig(
        text_config=recipe.language.to_qwen2(vocabulary),
        encoder=encoder_fields(recipe.encoder),
        positions=asdict(replace(recipe.positions, precision=recipe.training_precision)),
        ground_hidden_size=recipe.head.hidden_size,
        ground_input_norm=recipe.head.input_norm,
        ground_temperature=recipe.head.temperature,
        scene_token_id=scene,
        ground_token_id=ground,
        coord_token_id=coord,
    )
    return SceneLM(config)


def check_sizes(folder: Path, config: SceneLMConfig, recipe: Recipe) -> None:
    """Raise ValueError when the model in `folder` has other sizes than the recipe says.

    The weights fix them: other sizes in the recipe would have no effect, and be saved beside a model of which
    they are not true.
    """
    from llava.model.scene_lm import encoder_config

    text, wanted = config.text_config, recipe.language.to_qwen2(config.text_config.vocab_size)
    sizes = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "tie_word_embeddings",
    )
    parts = {
        "encoder": (encoder_fields(encoder_config(config)), encoder_fields(recipe.encoder)),
        "language": ({name: vars(text)[name] for name in sizes}, {name: vars(wanted)[name] for name in sizes}),
        "head": (
            {"hidden_size": config.ground_hidden_size, "input_norm": config.ground_input_norm},
            {"hidden_size": recipe.head.hidden_size, "input_norm": recipe.head.input_norm},
        ),
    }
    for part, (has, asked) in parts.items():
        differing = [
            f"{name} {has.get(name)} (asked for {asked[name]})" for name in asked if has.get(name) != asked[name]
        ]
        if differing:
            raise ValueError(
                f"the base checkpoint {folder} has another {part} than recipe {recipe.name!r}: {', '.join(differing)}"
            )


def load_recipe(folder: Path) -> Recipe:
    """The recipe that a checkpoint was made with; of a published (llava_qwen) folder: `published_recipe`.

    Raises ValueError when the folder has none, or a damaged one.
    """
    path = folder / RECIPE_FILE
    if not path.exists():
        config = folder / "config.json"
        raw = read_json(config) if config.exists() else None
        if isinstance(raw, dict) and raw.get("model_type") == "llava_qwen":
            return published_recipe(folder)
        raise ValueError(f"{path} is missing: {folder} is not a checkpoint of this project (made by `llava train`)")
    values = read_json(path)
    if isinstance(values, dict) and "encoder" in values:
        fields = dict(_of_type("encoder", values["encoder"], dict))
        _of_type("encoder.name", fields.get("name", ""), str)
        kind = find_encoder(fields.pop("name", "siglip"))  # the only one there was when names were not written
        values["encoder"] = _build(kind, fields)
    return _build(Recipe, values)


def published_recipe(folder: Path) -> Recipe:
    """`video3d-7b` with the sizes of a llava_qwen folder; ValueError where its config.json is not understood."""
    from llava.model.llava_qwen import read_llava_qwen_config
    from llava.model.scene_lm import encoder_config
    from llava.model.weights import read_shapes

    config = read_llava_qwen_config(folder, read_json(folder / "config.json"), read_shapes(folder))
    return replace(
        VIDEO3D_7B,
        encoder=encoder_config(config),
        positions=Positions(**config.positions),
        language=Language.of(config.text_config),
        head=GroundHead(temperature=config.ground_temperature),
    )


def _build(kind: type, values: dict[str, Any]) -> Any:
    """Rebuild nested frozen dataclasses from what `asdict` and JSON made of them."""
    if not isinstance(values, dict):
        raise ValueError(f"{RECIPE_FILE}: expected the fields of {kind.__name__}, found {type(values).__name__}")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}
    if not needed <= set(values):
        raise ValueError(f"{RECIPE_FILE}: {kind.__name__} lacks {', '.join(sorted(needed - set(values)))}")
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{RECIPE_FILE}: {kind.__name__} has no field {', '.join(unknown)}; it has {sorted(known)}")
    built = {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            value = _build(hints[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        built[name] = _of_type(f"{kind.__name__}.{name}", value, hints[name])
    return kind(**built)


def _of_type(name: str, value: Any, hint: Any) -> Any:
    """The value of a field; ValueError where it is not of the field's type."""
    if not _fits(value, hint):
        expected = hint.__name__ if isinstance(hint, type) else hint
        raise ValueError(f"{RECIPE_FILE}: {name} is {value!r}, expected {expected}")
    return value


def _fits(value: Any, hint: Any) -> bool:
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in inner
    if kind is tuple:
        each = inner[:1] * len(value) if isinstance(value, tuple) and inner[-1] is ... else inner
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if inner:
        return any(_fits(value, choice) for choice in inner)
    if hint is Any:
        return True
    # JSON writes 1.0 as 1 at times, and a bool is a whole number to Python
    return isinstance(value, float | int if hint is float else hint) and (hint is bool or not isinstance(value, bool))
