"""Names in a `config.json` that have changed since it was written: old name -> name today.

Whoever renames a configuration class or one of its fields adds a line here, so that old runs stay readable.
"""

from collections.abc import Mapping

CLASSES: Mapping[str, str] = {
    "train.counterfactual:CounterfactualRun": "CounterfactualFinetuneRun",
    "AutoencoderRun": "VAERun",
    "BaseRun": "PretrainRun",
    "ComparisonRun": "BenchmarkRun",
    "FreeEnergy": "NegativeELBO",
    "Guard": "SkipConfig",
    "MethodsRun": "InversionMethodsRun",
    "Mixed": "ExtraDataset",
    "Placement": "ShardingConfig",
    "Processes": "DistributedConfig",
    "SCMRun": "ImageMechanismRun",
}
"""Class names, or "module:class" where the name alone was ambiguous."""

FIELDS: Mapping[str, Mapping[str, str]] = {}
"""By today's class name: old field name -> today's."""

REMOVED: Mapping[str, Mapping[str, object]] = {"SplineConfig": {"order": "linear"}}
"""By today's class name: field that is gone -> its only value that today's code still means; dropped when reading."""
