"""Cross-attention maps of an edit: removed words over the reconstruction, all edited words over the edit."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from prism_jax.editing import alignment, word_maps
from prism_jax.editing.wording import differing
from prism_jax.pixels import rgb_from_uint8
from prism_jax.report.figures import attention_image, contact_sheet, contrast
from prism_jax.report.images import WordMap
from prism_jax.stable_diffusion import StableDiffusion

LABEL = 16  # pixels under an image for its word


def maps_of_edit(
    sd: StableDiffusion, prompts: tuple[str, str], images: tuple[np.ndarray, np.ndarray]
) -> tuple[WordMap, ...]:
    """Maps of the removed words of the source prompt, over the reconstruction, and of all words of the edited prompt.

    `images` are the reconstruction and the edit, uint8 [h, w].
    """
    latents = sd.encode_image(jnp.asarray(rgb_from_uint8(np.stack(images))))
    tokens = np.asarray(word_maps.token_maps(sd, latents, prompts))  # [2, 77, h', w']
    maps = []
    for i, phrases in enumerate(differing(*prompts, negations=True)):
        changed = {place for phrase in phrases for place in alignment.word_indices(prompts[i], phrase, sd.tokenizer)}
        for word in alignment.words_of(prompts[i], sd.tokenizer):
            is_changed = changed.issuperset(word.tokens.tolist())
            if i == 1 or is_changed:
                attention = tokens[i, word.tokens].mean(0)
                shown = dict(image=images[i], is_edited=i == 1, is_changed=is_changed)
                maps.append(WordMap(word=word.text, map=attention, **shown))
    return tuple(maps)


def sheet(sd: StableDiffusion, prompts: tuple[str, str], images: Mapping[str, np.ndarray]) -> np.ndarray:
    """The maps of an edit in one image, uint8 [h, w, 3], from its "reconstruction" and "edit".

    Below each map its word, with - if removed and + if new, and its contrast.
    """
    maps = maps_of_edit(sd, prompts, (images["reconstruction"], images["edit"]))
    sign = lambda word_map: ("+ " if word_map.is_edited else "- ") if word_map.is_changed else ""
    return contact_sheet(
        [
            _labelled(
                attention_image(word_map.image, word_map.map),
                f"{sign(word_map)}{word_map.word} {contrast(word_map.map):.2f}x",
            )
            for word_map in maps
        ]
    )


def _labelled(image: np.ndarray, text: str) -> np.ndarray:
    page = Image.fromarray(np.pad(image, ((0, LABEL), (0, 0), (0, 0))))
    ImageDraw.Draw(page).text((2, image.shape[0] + 1), text, fill=(255, 255, 255))
    return np.asarray(page)
