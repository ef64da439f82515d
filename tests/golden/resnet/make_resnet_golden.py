#!/usr/bin/env python3
"""Makes the safetensors files of this folder with PyTorch in float64: logits, losses, gradients, 20 steps of SGD.

  python3 make_resnet_golden.py [--out DIR] [--threads N] [CASE ...]

Without CASE all of them, a few minutes on two cores. README.md describes every formula and every tensor. Needs torch,
torchvision, numpy, safetensors.
"""
import argparse, json, time
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

import torch_resnet as nets

CASES = {  # name: (arch, classes, padding, batch, height, width, seed, learning rate of the runs or None)
    'cifar20_symmetric': ('cifar20', 10, 'symmetric', 8, 32, 32, 11, 0.01),
    'cifar20_same': ('cifar20', 10, 'same', 8, 32, 32, 11, 0.01),
    'cifar56_symmetric': ('cifar56', 10, 'symmetric', 8, 32, 32, 3, None),
    'cifar56_same': ('cifar56', 10, 'same', 8, 32, 32, 2, None),
    'resnet18_symmetric': ('resnet18', 10, 'symmetric', 4, 72, 72, 9, None),
    'resnet18_same': ('resnet18', 10, 'same', 4, 72, 56, 3, 0.01),
    'resnet34_symmetric': ('resnet34', 10, 'symmetric', 4, 72, 72, 5, None),
    'resnet34_same': ('resnet34', 10, 'same', 4, 72, 72, 11, None),
    'resnet50_symmetric': ('resnet50', 1001, 'symmetric', 4, 72, 72, 8, None),
    'resnet50_same': ('resnet50', 1001, 'same', 4, 72, 72, 7, None),
}
STEPS = 20
MOMENTUM = 0.9
DECAY = 1e-4
SMOOTHING = 0.1
RUNS = ('plain', 'torch_decay', 'keras_l2', 'smoothed')
PROJECTIONS = 32
ENTRIES = 16


def keras_penalised(model):
    """What the L2 term of Keras covers: convolutions, and weight and bias of the dense layer."""
    return [p for name, p in model.named_parameters() if p.dim() > 1 or name == 'fc.bias']


def running_statistics(model):
    return {name: b for name, b in model.named_buffers() if name.endswith(('running_mean', 'running_var'))}


class Case:
    def __init__(self, arch, classes, padding, size, height, width, seed, learning_rate):
        self.arch, self.classes, self.padding, self.seed = arch, classes, padding, seed
        self.size, self.height, self.width, self.learning_rate = size, height, width, learning_rate
        self.batches = [nets.batch(seed, b, size, height, width, classes) for b in range(STEPS)]
        self.inputs = [nets.normalise(images) for images, _ in self.batches]
        self.labels = [torch.from_numpy(labels) for _, labels in self.batches]
        self.memory_format = torch.contiguous_format
        self.dtype = torch.float64

    def model(self):
        model = nets.build(self.arch, self.classes, self.padding)
        nets.load_initial_weights(model, self.seed)
        return model.to(self.dtype, memory_format=self.memory_format).train()

    def input(self, number):
        return self.inputs[number].to(self.dtype, memory_format=self.memory_format)

    def first_step(self):
        """logits, losses, gradients, running statistics, norms of what the layers returned."""
        model, outputs = self.model(), {}

        def keep(name):
            return lambda module, args, result: outputs.update({name: result.detach().double().norm().item()})

        for name, module in model.named_modules():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
                module.register_forward_hook(keep(name))
        logits = model(self.input(0))
        loss = F.cross_entropy(logits, self.labels[0])
        loss.backward()
        return {
            'logits': logits.detach().double().numpy(),
            'loss': loss.item(),
            'loss_smoothed': F.cross_entropy(logits, self.labels[0], label_smoothing=SMOOTHING).item(),
            'gradients': {name: p.grad.double().numpy() for name, p in model.named_parameters()},
            'running': {name: b.double().numpy() for name, b in running_statistics(model).items()},
            'outputs': outputs,
        }

    def run(self, kind):
        """STEPS steps of one kind of SGD."""
        model = self.model()
        optimizer = torch.optim.SGD(model.parameters(), self.learning_rate, MOMENTUM,
                                    weight_decay=DECAY if kind == 'torch_decay' else 0)
        losses, objectives = [], []
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(self.input(step)), self.labels[step],
                                   label_smoothing=SMOOTHING if kind == 'smoothed' else 0)
            objective = loss
            if kind == 'keras_l2':
                objective = loss + DECAY * sum(p.square().sum() for p in keras_penalised(model))
            objective.backward()
            optimizer.step()
            losses.append(loss.item())
            objectives.append(objective.item())
        model.eval()
        with torch.no_grad():
            logits = model(self.input(0))
        return {
            'losses': np.array(losses),
            'objectives': np.array(objectives),
            'eval_logits': logits.double().numpy(),
            'eval_loss': F.cross_entropy(logits, self.labels[0]).item(),
            'norms': norms(p.detach().double().numpy() for p in model.parameters()),
        }


def norms(tensors):
    return np.array([np.linalg.norm(t.ravel()) for t in tensors])


def sketch(tensor_index, tensor):
    """(projections, entries) of one tensor."""
    values = tensor.ravel()
    n = values.size
    signs = nets.words(nets.SIGNS_SEED, tensor_index, n)
    one = np.uint64(1)
    projections = [values @ (((signs >> np.uint64(p)) & one).astype(np.float64) * 2 - 1) for p in range(PROJECTIONS)]
    entries = values[nets.words(nets.ENTRIES_SEED, tensor_index, ENTRIES) % np.uint64(n)]
    return np.array(projections), entries


def sketches(prefix, tensors, first_index):
    rows = [sketch(first_index + k, t) for k, t in enumerate(tensors.values())]
    return {
        prefix + '.norm': norms(tensors.values()),
        prefix + '.projections': np.stack([r[0] for r in rows]),
        prefix + '.entries': np.stack([r[1] for r in rows]),
    }


def relative(mine, truth):
    mine, truth = np.asarray(mine, np.float64), np.asarray(truth, np.float64)
    return float(np.linalg.norm((mine - truth).ravel()) / np.linalg.norm(truth.ravel()))


def flat(tensors):
    return np.concatenate([t.ravel() for t in tensors.values()])


def estimated_error(gold, tensors, prefix):
    """The relative L2 error of all tensors together as a test sees it: from the sketches alone."""
    rows = np.stack([sketch(k, t)[0] for k, t in enumerate(tensors.values())])
    squares = ((rows - gold[prefix + '.projections'])**2).mean(1)
    return float(np.sqrt(squares.sum()) / np.linalg.norm(gold[prefix + '.norm']))


def other_ways(case, first, plain, gold):
    """How far other ways of PyTorch are from this file: float32, and float64 with another order of sums."""
    errors = {}
    for way, dtype, memory_format in (('float32_nchw', torch.float32, torch.contiguous_format),
                                      ('float32_channels_last', torch.float32, torch.channels_last),
                                      ('float64_channels_last', torch.float64, torch.channels_last)):
        case.dtype, case.memory_format = dtype, memory_format
        mine = case.first_step()
        tensors = {name: relative(mine['gradients'][name], g) for name, g in first['gradients'].items()}
        worst = max(tensors, key=tensors.get)
        errors[way] = {
            'logits': relative(mine['logits'], first['logits']),
            'loss': abs(mine['loss'] - first['loss']) / first['loss'],
            'gradient_all': relative(flat(mine['gradients']), flat(first['gradients'])),
            'gradient_all_estimated': estimated_error(gold, mine['gradients'], 'gradient'),
            'gradient_worst': tensors[worst],
            'gradient_worst_name': worst,
            'running_all': relative(flat(mine['running']), flat(first['running'])),
        }
        if plain:
            run = case.run('plain')
            drift = np.abs(run['losses'] - plain['losses']) / plain['losses']
            errors[way]['losses'] = drift.tolist()
            errors[way]['losses_max'] = drift.max()
            errors[way]['eval_loss'] = abs(run['eval_loss'] - plain['eval_loss']) / plain['eval_loss']
    return errors


def make(name):
    case = Case(*CASES[name])
    first = case.first_step()
    runs = {kind: case.run(kind) for kind in RUNS} if case.learning_rate else {}
    model = case.model()
    weights = nets.initial_weights(model, case.seed)

    tensors = {
        'logits': first['logits'],
        'loss': np.array([first['loss']]),
        'loss_smoothed': np.array([first['loss_smoothed']]),
        'output.norm': np.array(list(first['outputs'].values())),
        'labels': np.stack([labels for _, labels in case.batches]),
        'check.image_sum': np.array([int(images.sum(dtype=np.int64)) for images, _ in case.batches]),
        'check.input_norm': norms([case.inputs[0].double().numpy()]),
        'check.weight_norm': norms(w.astype(np.float64) for w in weights.values()),
        'check.weight_first': np.array([w.flat[0] for w in weights.values()], np.float64),
    }
    if runs:
        tensors['eval_logits.plain'] = runs['plain']['eval_logits']
        tensors['objective.keras_l2'] = runs['keras_l2']['objectives']
    for kind, run in runs.items():
        tensors['losses.' + kind] = run['losses']
        tensors['eval_loss.' + kind] = np.array([run['eval_loss']])
        tensors[f'parameters_after.{kind}.norm'] = run['norms']
    tensors |= sketches('gradient', first['gradients'], 0)
    tensors |= sketches('running', first['running'], nets.BUFFERS_INDEX)
    if name == 'cifar20_symmetric':
        tensors['gradient.full'] = flat(first['gradients']).astype(np.float32)
    if case.arch.startswith('cifar'):
        tensors['running.full'] = flat(first['running'])

    metadata = {
        'arch': case.arch, 'classes': case.classes, 'padding': case.padding, 'batch_size': case.size,
        'height': case.height, 'width': case.width, 'seed': case.seed, 'means': list(nets.MEANS),
        'scale': nets.SCALE, 'learning_rate': case.learning_rate, 'momentum': MOMENTUM, 'steps': STEPS,
        'batch_norm_momentum': nets.BATCH_NORM_MOMENTUM, 'batch_norm_epsilon': nets.BATCH_NORM_EPSILON,
        'parameters': list(weights), 'shapes': [list(w.shape) for w in weights.values()],
        'running': list(first['running']), 'outputs': list(first['outputs']),
        'parameter_count': sum(w.size for w in weights.values()),
        'versions': {'torch': torch.__version__, 'torchvision': torchvision.__version__, 'numpy': np.__version__,
                     'cpu_capability': torch.backends.cpu.get_cpu_capability()},
    }
    if case.arch == 'resnet50':
        other = nets.build('resnet50', 1000, case.padding)
        metadata['parameter_count_1000'] = sum(p.numel() for p in other.parameters())
    metadata['other_ways'] = other_ways(case, first, runs.get('plain'), tensors)
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    return tensors, {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cases', nargs='*', metavar='CASE', help=', '.join(CASES))
    parser.add_argument('--out', type=Path, default=Path(__file__).parent)
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.cases or CASES:
        start = time.monotonic()
        tensors, metadata = make(name)
        file = options.out / f'{name}.safetensors'
        save_file(tensors, file, metadata)
        file.chmod(0o644)
        print(f'{name}: {file.stat().st_size} bytes, {time.monotonic() - start:.0f} s', flush=True)
        for way, errors in json.loads(metadata['other_ways']).items():
            print(f'  {way}:', ', '.join(f'{key} {value:.2g}' if isinstance(value, float) else f'{key} {value}'
                                                   for key, value in errors.items() if key != 'losses'))


if __name__ == '__main__':
    main()
