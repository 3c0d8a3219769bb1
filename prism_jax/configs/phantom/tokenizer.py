"""The tokenizer of the shipped model: phantom captions, and the words of chest X-ray labels.

Program: prism train tokenizer
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
Takes: not measured
"""

from prism_jax.training.finetune.tokenizer import TokenizerRun

WORDS = """
    atelectasis ards bacterial bilateral bronchiectasis calcification catheter consolidation coronavirus
    covid device edema emphysema endotracheal enlarged fibrosis finding fracture fungal hernia
    infiltrate influenza intubated lateral left legionella lesion lung lungs mass mediastinum mild
    moderate nodule normal opacity other pleural pneumocystis pneumonia pneumothorax right severe
    streptococcus supine support thickening tube tuberculosis unspecified viral
"""


def config() -> TokenizerRun:
    return TokenizerRun(out="runs/phantom_tokenizer", data=("data/phantom_balanced",), words=tuple(WORDS.split()))
