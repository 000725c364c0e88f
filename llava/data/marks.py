"""The marks `<image>`, `<ground>` and `<coord>`: a model and its tokenizer have to agree on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llava.data.chat import COORD, GROUND, SCENE
from llava.model.checkpoint import init_new_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llava.model.scene_lm import SceneLM


def add_marks(model: SceneLM, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Give a model that has never seen them the marks that its tokenizer lacks; returns these.

    The vocabulary becomes as long as the tokenizer (a padded one is cut), and a new mark starts as the mean of
    all tokens before it (quirk Q17).
    """
    known = tokenizer.get_vocab()
    missing = [mark for mark in (GROUND, COORD, SCENE) if mark not in known]
    if missing:
        tokenizer.add_tokens(missing)
        init_new_tokens(model, len(tokenizer), tokenizer.convert_tokens_to_ids(missing))
    match_marks(model, tokenizer)
    return missing


def match_marks(model: SceneLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell the model which ids its tokenizer gives the marks.

    The scene's placeholder needs no row of the vocabulary, so a tokenizer without it is given one.

    Raises ValueError where `<ground>` or `<coord>` has no id, one beyond the vocabulary, or another than the
    checkpoint's configuration says.
    """
    if SCENE not in tokenizer.get_vocab():
        tokenizer.add_tokens([SCENE])
    config, rows = model.config, model.config.text_config.vocab_size
    for name, mark in (("ground_token_id", GROUND), ("coord_token_id", COORD)):
        own = tokenizer.get_vocab().get(mark)
        if own is None or own >= rows:
            raise ValueError(
                f"the tokenizer gives {mark} the id {own}, expected one below {rows}: this checkpoint has not been "
                "trained on scenes; start a training from it with --base"
            )
        said = vars(config)[name]
        if said >= 0 and said != own:
            raise ValueError(f"config.json says that {mark} is token {said}, the tokenizer {own}: one is not its own")
        setattr(config, name, own)
    config.scene_token_id = tokenizer.convert_tokens_to_ids(SCENE)
