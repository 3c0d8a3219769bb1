"""Cross-attention maps of some edits, for the report of a cohort."""

from collections.abc import Mapping, Sequence

from prism_jax import StableDiffusion, report
from prism_jax.evaluation.counterfactuals.attention_maps import maps_of_edit
from prism_jax.evaluation.counterfactuals.measure import Outcome

Maps = Mapping[tuple[str, str], tuple[report.WordMap, ...]]  # by image and edit


def maps_of(sd: StableDiffusion, outcomes: Mapping[str, Sequence[Outcome]], subjects: int) -> Maps:
    """Maps of the first `subjects` of every edit."""
    chosen = [outcome for each in outcomes.values() for outcome in each[:subjects]]
    return {outcome.key: _maps(sd, outcome) for outcome in chosen}


def _maps(sd: StableDiffusion, outcome: Outcome) -> tuple[report.WordMap, ...]:
    prompts = (outcome.row["source_prompt"], outcome.row["edited_prompt"])
    return maps_of_edit(sd, prompts, (outcome.image("reconstruction"), outcome.image("edited")))
