"""The tokenizer of the small base model: phantom captions, and the words of chest X-ray labels.

python -m train.tokenizer --config configs/phantom/tokenizer.py
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
    return TokenizerRun(
        out="runs/phantom_tokenizer",
        data=("data/phantom_balanced",),
        limit=5000,
        words=tuple(WORDS.split()),
        vocab_size=1024,
    )
