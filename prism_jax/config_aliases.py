"""Names in a `config.json` that have changed since it was written: old name -> name today.

Whoever renames a configuration class or one of its fields adds a line here, so that old runs stay readable.
"""

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    "train.autoencoder:Validation": "VAEValidation",
    "train.classifier:Validation": "ClassifierValidation",
    "train.classifying:Objective": "ClassifierObjective",
    "train.counterfactual_step:Objective": "CounterfactualObjective",
    "train.denoising:Objective": "DenoisingObjective",
    "train.ganterfactual_step:Objective": "GANterfactualObjective",
    "train.ganterfactual_watching:Validation": "GANterfactualValidation",
    "train.predictors_watching:Validation": "PredictorsValidation",
    "train.scm_watching:Validation": "ImageMechanismValidation",
    "train.watching:Samples": "SampleGrid",
    "train.watching:Validation": "FinetuneValidation",
    "train.counterfactual:CounterfactualRun": "CounterfactualFinetuneRun",
    "AutoencoderRun": "VAERun",
    "BaseRun": "PretrainRun",
    "Bracket": "Baseline",
    "Change": "EditSpec",
    "DatasetSplit": "Data",
    "Built": "Data",
    "ComparisonRun": "BenchmarkRun",
    "FlipConfig": "SignFlipConfig",
    "HeldOutSet": "StudyTestSet",
    "FreeEnergy": "NegativeELBO",
    "Guard": "SkipConfig",
    "Mixed": "ExtraDataset",
    "Placement": "ShardingConfig",
    "Processes": "DistributedConfig",
    "SCMRun": "ImageMechanismRun",
}
"""Class names, or "module:class" where the name alone was ambiguous."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    "AuditRun": {"slight": "negligible"},
    "AxiomsRun": {"cycled": "composition_limit", "is_other": "is_different"},
    "BenchmarkRun": {
        "bank": "reference_set_size",
        "changes": "edits",
        "once": "one_edit_per_subject",
        "per_change": "subjects_per_edit",
        "rows": "methods",
    },
    "CaptionConfig": {"reports": "report_fraction"},
    "ClassifierRun": {"guard": "skip"},
    "ClassifierValidation": {"tested": "test_split"},
    "CounterfactualFinetuneRun": {"guard": "skip"},
    "CounterfactualRun": {
        "changes": "edits",
        "closer_at_least": "min_closer_fraction",
        "growth_at_most": "max_outside_growth",
        "inversions": "inversion_store",
        "inversions_gigabytes": "inversion_store_gigabytes",
        "per_change": "subjects_per_edit",
        "psnr_loss_at_most": "max_psnr_loss",
    },
    "Data": {
        "balance": "class_weight_on",
        "equally": "balanced_sampling_on",
        "mixed": "extra",
        "workers": "num_workers",
    },
    "EffectConfig": {"fewest": "min_patients", "flips": "sign_flips"},
    "FinetuneRun": {"guard": "skip", "placement": "sharding"},
    "GANterfactualRun": {"guard": "skip"},
    "ImageMechanismRun": {"guard": "skip", "placement": "sharding"},
    "PredictorsRun": {"guard": "skip"},
    "ShardingConfig": {"smallest": "min_size"},
    "SignFlipConfig": {"flips": "num_permutations"},
    "SkipConfig": {
        "after": "warmup_updates",
        "largest": "max_grad_norm",
        "patience": "max_consecutive",
        "spike": "spike_factor",
    },
}
"""By today's class name: old field name -> today's."""

REMOVED: Mapping[str, Mapping[str, object]] = {
    "GenerationRun": {"clip": None},
    "ShardingConfig": {"rules": [[".*", "fsdp"]]},
    "SplineConfig": {"order": "linear"},
}
"""By today's class name: removed field -> the only value that today's code still supports; dropped when reading."""

VALUES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "EffectConfig": {"control": {"discoveries": "fdr", "family": "fwer"}, "margin_of": {"spread": "std"}},
}
"""By today's class name and field name: old value -> today's."""
