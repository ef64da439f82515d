"""What gradients.py, curve.py and bits.py share: bench_train_steps on one side, PyTorch on the other.

A precision is fp32 (exact products), tf32, fp16 or bf16. The networks and their PyTorch twins are those of
tests/golden/resnet.
"""
import json, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/golden/resnet'))

import numpy as np
import torch
import torch_resnet as nets
from torch.nn import functional as F

LOSS_SCALE = 128  # of fp16, on both sides: small gradients would be zeros in it


def add_options(parser):
    parser.add_argument('--bench', default=str(ROOT / 'build/release/bin/bench_train_steps'))
    parser.add_argument('--model', default='resnet_cudnn', help='resnet_cpu tries the scripts on a CPU')
    parser.add_argument('--work', type=Path, default=Path('gpu_check_work'), help='folder for what the programs exchange')
    parser.add_argument('--threads', type=int, default=2, help='of a model on the CPU')


def device_of(options):
    """Where PyTorch computes: where the model does."""
    return torch.device('cuda' if options.model == 'resnet_cudnn' else 'cpu')


def model_options(options, arch, padding, precision, **more):
    values = {
        'depth': arch.removeprefix('resnet').removeprefix('cifar'), 'padding': padding,
        'precision': 'fp32' if precision == 'tf32' else precision,
        'std': [58, 58, 58],  # nets.normalise()
    }
    if options.model == 'resnet_cudnn':
        values |= {'tf32': json.dumps(precision == 'tf32'), 'loss_scale': LOSS_SCALE}
    return [f'{name}={value}' for name, value in (values | more).items()]


# safetensors, for machines that have PyTorch and no more: a length, a header in JSON, the values.

TYPES = {'F32': np.float32, 'I64': np.int64, 'U8': np.uint8}


def save_file(tensors, file):
    names = {np.dtype(type_): name for name, type_ in TYPES.items()}
    header, end = {}, 0
    for name, values in tensors.items():
        header[name] = {'dtype': names[values.dtype], 'shape': values.shape, 'data_offsets': (end, end + values.nbytes)}
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(file, 'wb') as out:
        out.write(len(text).to_bytes(8, 'little') + text)
        for values in tensors.values():
            out.write(np.ascontiguousarray(values).tobytes())


def load_file(file):
    with open(file, 'rb') as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), 'little')))
        start = content.tell()
    header.pop('__metadata__', None)
    return {name: np.fromfile(file, TYPES[info['dtype']], offset=start + info['data_offsets'][0],
                              count=int(np.prod(info['shape']))).reshape(info['shape'])
            for name, info in header.items()}


def write_batches(file, batches):
    """batches: (images (N, H, W, 3), labels (N)) each."""
    save_file({'images': np.stack([images for images, _ in batches]),
               'labels': np.stack([labels for _, labels in batches])}, file)


def write_weights(file, weights):
    save_file({name: np.ascontiguousarray(values, np.float32) for name, values in weights.items()}, file)


class Failed(Exception):
    """bench_train_steps did not train; the text has its command and its words."""


def train(options, batches, model_values, tensors=None, **arguments):
    """Losses of the steps of bench_train_steps."""
    command = [options.bench, '--model', options.model, '--strategy', 'one_gpu' if options.model == 'resnet_cudnn' else 'one_device',
               '--batches', str(batches), '--threads', str(options.threads)]
    for value in model_values:
        command += ['--option', value]
    for name, value in (arguments | ({'tensors': tensors} if tensors else {})).items():
        command += [f'--{name}', str(value)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f'{" ".join(command)}\n{done.stderr.strip()}\nexit status {done.returncode}')
    # JSON has no NaN.
    return [float('nan') if loss is None else loss for loss in json.loads(done.stdout)['losses']]


def judge_all(cases, judge):
    """Exit status: 0 if all cases are right, 1 if one is wrong, 2 if one could not run; the others are still judged."""
    status = 0
    for case in cases:
        try:
            status = max(status, 0 if judge(*case) else 1)
        except Failed as why:
            print(f'{" ".join(case)}: NOT JUDGED: {why}', file=sys.stderr, flush=True)
            status = 2
    return status


class TorchStep:
    """Forward and backward pass of a network in one of the precisions, or fp64, as PyTorch does it."""

    def __init__(self, model, precision, device):
        self.device, self.precision = device, precision
        self.dtype = torch.float64 if precision == 'fp64' else torch.float32
        self.format = torch.channels_last if device.type == 'cuda' and precision != 'fp64' else torch.contiguous_format
        self.model = model.to(device, self.dtype, memory_format=self.format).train()
        self.half = {'fp16': torch.float16, 'bf16': torch.bfloat16}.get(precision)
        self.scale = LOSS_SCALE if precision == 'fp16' else 1

    def __call__(self, images, labels):
        """The loss; gradients are in the model's parameters."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == 'tf32'
        x = nets.normalise(images).to(self.device, self.dtype, memory_format=self.format)
        self.model.zero_grad()
        with torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None):
            logits = self.model(x)
        loss = F.cross_entropy(logits.to(self.dtype), torch.from_numpy(labels).to(self.device))
        (loss * self.scale).backward()
        for parameter in self.model.parameters():
            parameter.grad /= self.scale
        return loss.item()
