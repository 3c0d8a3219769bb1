"""Edits of prompt-to-prompt's own code."""

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import editing
from prism_jax.editing import Blend, Edit, Inversion
from tests.conftest import channels_last
from tests.reference.conftest import load_trace


def given_inversion(image: int) -> Inversion:
    """One image of the reference, up to where its edits begin."""
    arrays, null = load_trace("08_ddim_inversion").arrays, load_trace("09_null_text")
    return Inversion(
        trajectory=channels_last(arrays[f"image{image}_ddim_inversion_latents"])[:, None],
        context=jnp.asarray(arrays[f"image{image}_cond"]),
        null_context=jnp.asarray(null.arrays[f"image{image}_uncond_embeddings"])[:, None],
        inner_iterations=jnp.zeros((null.meta["steps"], 1), jnp.int32),
        guidance=jnp.float32(null.meta["guidance_scale"]),
        prompts=(null.meta["prompts"][image],),
        method="null_text",
    )


def given_edit(case: dict, number: int) -> Edit:
    """Edit `number` (from 1) of a case of the reference."""
    words, factors = case["local_blend_words"], case["equalizer"]
    blend = words and Blend(words=tuple(words[0]), edit_words=tuple(words[number]), threshold=case["threshold"])
    return Edit(
        prompt=case["prompts"][number],
        kind="replace" if case["controller"] == "replace" else "refine",
        cross_steps=0.8,
        self_steps=case["self_replace_steps"],
        reweight=factors and dict(zip(factors["words"], factors["values"], strict=True)),
        blend=blend,
    )


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("image", "names"),
    [
        (0, ("replace_lb", "refine", "prism_absent_lb", "two_replace_lb")),
        (1, ("prism", "prism_lb")),
    ],
)
def test_edits_and_their_masks_agree_with_the_reference(image, names, sd15):
    """Edits side by side, with and without local blend."""
    arrays, meta = load_trace("11_p2p_edits")
    number = lambda name: len(meta[name]["prompts"]) - 1  # the last: of "two_replace_lb" the one not yet seen
    edits = [given_edit(meta[name], number(name)) for name in names]
    source, *edited = editing.edit(sd15, given_inversion(image), [edits]).latents[0]
    for name, made in zip(names, edited, strict=True):
        final = channels_last(arrays[f"{name}_final"])
        np.testing.assert_allclose(source, final[0], rtol=0, atol=1e-3, err_msg=f"source of {name}")
        np.testing.assert_allclose(made, final[number(name)], rtol=0, atol=1e-3, err_msg=name)
        if name.endswith("_lb"):
            masks = arrays[f"{name}_mask_last"][:, 0]
            changed = (made != source).any(-1)
            np.testing.assert_array_equal(changed, masks[0] | masks[number(name)], err_msg=name)
