"""Attribute mechanisms of MIMIC-CXR: age, race, sex, and pleural effusion or no finding.

Program: prism train mechanisms
Needs: prism data build mimic_cxr --source mimic-cxr-jpg --out data/mimic_cxr --views AP PA \\
        --patients patients.csv.gz --admissions admissions.csv.gz
Takes: not measured
"""

from prism_jax.scm import graphs
from prism_jax.training.examples import Data
from prism_jax.training.mechanisms.run import MechanismsRun


def config() -> MechanismsRun:
    return MechanismsRun(run="runs/mimic_mechanisms", graph=graphs.mimic_cxr(), data=Data(folder="data/mimic_cxr"))
