"""What a pattern names is trained and the rest stays; low-rank changes start at none and add up to what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.training.finetune import lora as finetune_lora
from prism_jax.training.finetune.lora import Lora

WEIGHTS = {
    "unet": {
        "blocks": {
            0: {"attn1": {"to_q": {"kernel": jnp.ones((4, 6))}}, "attn2": {"to_q": {"kernel": jnp.ones((5, 6))}}}
        },
        "conv_in": {"kernel": jnp.ones((3, 3, 4, 8)), "bias": jnp.zeros(8)},
    },
    "text_encoder": {"final": {"scale": jnp.ones(3)}},
}


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    return jax.tree.structure(a) == jax.tree.structure(b)


@pytest.mark.parametrize(
    ("patterns", "count"),
    [(finetune_lora.UNET, 4), (finetune_lora.UNET_AND_TEXT, 5), ((r"^unet\..*\.attn2\.",), 1)],
)
def test_what_patterns_name_and_the_rest_are_all(patterns, count):
    trained, rest = finetune_lora.split(WEIGHTS, patterns)
    assert len(jax.tree.leaves(trained)) == count
    assert len(jax.tree.leaves(rest)) == 5 - count
    assert same(finetune_lora.merge_dicts(trained, rest), WEIGHTS)


def test_a_pattern_that_names_nothing_is_refused():
    with pytest.raises(ValueError, match=r"trained names '\^vae', which no parameter has"):
        finetune_lora.split(WEIGHTS, ("^unet", "^vae"))


def test_low_rank_changes_start_at_none_and_then_are_their_product():
    lora = Lora(rank=2, alpha=6.0)
    factors = finetune_lora.low_rank(WEIGHTS, lora, seed=0)
    assert len(jax.tree.leaves(factors)) == 4
    assert same(finetune_lora.changed(WEIGHTS, factors, lora.scale), WEIGHTS)
    factors = jax.tree.map(jnp.ones_like, factors)
    kernel = finetune_lora.changed(WEIGHTS, factors, lora.scale)["unet"]["blocks"][0]["attn2"]["to_q"]["kernel"]
    np.testing.assert_allclose(kernel, 1 + 3 * 2)  # alpha / rank, times two ones


def test_low_rank_changes_of_anything_but_matrices_are_refused():
    with pytest.raises(ValueError, match=r"names unet\.conv_in\.kernel of shape \(3, 3, 4, 8\); only matrices"):
        finetune_lora.low_rank(WEIGHTS, Lora(targets=r"conv_in\.kernel"), seed=0)
    with pytest.raises(ValueError, match="is found in no parameter"):
        finetune_lora.low_rank(WEIGHTS, Lora(targets="nowhere"), seed=0)
