#!/usr/bin/env python3
"""resnet_cpu against PyTorch on the CPU: training steps on resident data, in turns.

  python3 compare.py [--bench build/release/bin/bench_cpu_resnet] [--python python3] [--rounds 5] [--steps 5]
                     [--batches 16,32] [--dtypes fp32,bf16] [--modes eager,compile] [--arch resnet50] [--image 224]

Prints a table: medians, with the lowest and the highest round (../turns.py). --python is one that
has torch and torchvision. What a machine cannot compute (bf16 without AVX-512, torch.compile without a compiler) is said and left out.
"""
import argparse, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import turns


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bench', default=str(HERE.parents[1] / 'build/release/bin/bench_cpu_resnet'))
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--warmup', type=int, default=2)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--batches', default='16,32')
    parser.add_argument('--dtypes', default='fp32,bf16')
    parser.add_argument('--modes', default='eager,compile')
    parser.add_argument('--arch', default='resnet50')
    parser.add_argument('--image', type=int, default=224)
    options = parser.parse_args()

    common = ['--threads', options.threads, '--steps', options.steps, '--warmup', options.warmup, '--image', options.image]
    print(f'{options.arch}, {options.image} x {options.image}, {options.threads} threads, {options.rounds} rounds of {options.steps} steps\n')
    print(f'| dtype | batch | {turns.HEADER}\n|---|---|---|---|---|---|')
    for dtype in options.dtypes.split(','):
        for batch in options.batches.split(','):
            here = common + ['--batch', batch]
            programs = {'slackline': turns.Fresh([options.bench, '--depth', options.arch.removeprefix('resnet').removeprefix('cifar'), '--precision', dtype, *here])}
            for mode in options.modes.split(','):
                programs[f'PyTorch {mode}'] = turns.Fresh([options.python, HERE / 'torch_step.py', '--arch', options.arch, '--dtype', dtype, '--mode', mode, *here])
            turns.print_rows(f'{dtype} | {batch}', programs, turns.rounds_of(programs, options.rounds))


if __name__ == '__main__':
    main()
