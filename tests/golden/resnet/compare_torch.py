#!/usr/bin/env python3
"""Loads a checkpoint with torchvision's names into PyTorch, strictly, and prints its logits or compares them.

  python3 compare_torch.py CHECKPOINT --arch resnet50 [--classes 1000] [--padding symmetric|same]
                           [--batch 4] [--height 64] [--width 64] [--seed 1] [--train] [--logits FILE.json [--tolerance 1e-4]]
                           [--fresh]

The images are batch 0 of README.md's formula with that seed. Without --logits it prints {"logits": [[...], ...]}; with it,
FILE is such a file, and the exit status is 1 when the relative L2 error is above the tolerance. Inference mode (running
statistics) unless --train. Keys that begin with "slackline." are ours and are left out; any other key that PyTorch lacks,
or lacks a value for, is an error. Needs torch, torchvision, numpy, safetensors.

--fresh writes CHECKPOINT instead: the network as PyTorch initialises it, its running statistics moved by one batch.
"""
import argparse, json, sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import torch_resnet as nets


def load(arch, classes, padding, file):
    """The network with the weights of the file."""
    state = {key: value for key, value in load_file(file).items() if not key.startswith('slackline.')}
    model = nets.build(arch, classes, padding)
    # A count of batches seen, which no network here reads: the one thing a file need not have.
    for key, value in model.state_dict().items():
        if key.endswith('.num_batches_tracked'):
            state.setdefault(key, value)
    model.load_state_dict(state, strict=True)
    return model


def write_fresh(options):
    torch.manual_seed(options.seed)
    model = nets.build(options.arch, options.classes, options.padding).train()
    images, _ = nets.batch(options.seed, 1, options.batch, options.height, options.width, options.classes)
    with torch.no_grad():
        model(nets.normalise(images))
    save_file(model.state_dict(), options.checkpoint)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint')
    parser.add_argument('--arch', required=True)
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument('--padding', choices=('symmetric', 'same'), default='symmetric')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--height', type=int, default=64)
    parser.add_argument('--width', type=int, default=64)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--train', action='store_true')
    parser.add_argument('--logits')
    parser.add_argument('--tolerance', type=float, default=1e-4)
    parser.add_argument('--fresh', action='store_true')
    options = parser.parse_args()

    if options.fresh:
        write_fresh(options)
        return 0
    model = load(options.arch, options.classes, options.padding, options.checkpoint).train(options.train)
    images, _ = nets.batch(options.seed, 0, options.batch, options.height, options.width, options.classes)
    with torch.no_grad():
        logits = model.double()(nets.normalise(images).double()).numpy()
    if not options.logits:
        print(json.dumps({'logits': logits.tolist()}))
        return 0
    with open(options.logits) as file:
        mine = np.array(json.load(file)['logits'])
    if mine.shape != logits.shape:
        print(f'{options.logits}: logits of shape {mine.shape}, PyTorch has {logits.shape}')
        return 1
    error = np.linalg.norm(mine - logits) / np.linalg.norm(logits)
    print(f'relative L2 error {error:.3g}, largest difference {np.abs(mine - logits).max():.3g}, '
          f'same best class {np.mean(mine.argmax(1) == logits.argmax(1)):.0%}')
    return 0 if error <= options.tolerance else 1  # not (error > tolerance): NaN must fail


if __name__ == '__main__':
    sys.exit(main())
