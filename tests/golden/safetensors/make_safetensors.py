"""Writes numbers.safetensors: the same numbers in every dtype that slackline reads.

    python make_safetensors.py [FOLDER]

Needs torch and safetensors; made with torch 2.15.0 and safetensors 0.8.0.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file

NUMBERS = [[0.0, -0.0, 1.5], [-2.0, 65504.0, 2.0**-24]]  # the last two: half's largest and smallest

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
tensors = {
    "conv1.weight": torch.tensor(NUMBERS, dtype=torch.float32),
    "double": torch.tensor(NUMBERS, dtype=torch.float64),
    "half": torch.tensor(NUMBERS, dtype=torch.float16),
    "brain": torch.tensor(NUMBERS, dtype=torch.bfloat16),
    "bn1.num_batches_tracked": torch.tensor(16777217, dtype=torch.int64),
    "bytes": torch.tensor([0, 127, 255], dtype=torch.uint8),
    "empty": torch.zeros((0, 3), dtype=torch.float32),
    "special": torch.tensor([float("inf"), float("-inf"), float("nan")], dtype=torch.float16),
}
save_file(tensors, folder / "numbers.safetensors", metadata={"made by": "torch", "höhe": "1 µm"})
