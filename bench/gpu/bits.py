#!/usr/bin/env python3
"""Whether training gives the same bits again: run after run, and from a replayed graph as from a stream.

  python3 bits.py [--arch resnet50] [--batch 64] [--image 224] [--precisions fp16,bf16,tf32] [--steps 20] [--inject]
                  [--bench FILE] [--model resnet_cudnn] [--work DIR]

Losses of all steps, and all parameters, statistics, velocities and gradients behind the last, of two runs with graphs
and one launched as a stream (a model on the CPU: of three runs). The batches are four, in turns.
--inject gives the second run another seed, to see this fail.
Exit status: 0 if all bits are equal, 1 if not, 2 if something could not run.
"""
import argparse, filecmp, sys

import steps
from steps import nets


def judge(precision, batches, options):
    launches = ('graph', 'graph', 'stream') if options.model == 'resnet_cudnn' else (None, None, None)
    losses, files, equal = [], [], []
    for number, launch in enumerate(launches):
        files.append(options.work / f'bits{number}.safetensors')
        values = steps.model_options(options, options.arch, 'symmetric', precision, **({'launch': launch} if launch else {}))
        losses.append(steps.train(options, batches, values, files[-1], steps=options.steps, rate=0.02, momentum=0.9,
                                  decay=1e-4, seed=2 if options.inject and number == 1 else 1))
    for number, what in ((1, 'two runs'), (2, 'graph and stream' if launches[2] else 'two runs')):
        same = losses[0] == losses[number] and filecmp.cmp(files[0], files[number], shallow=False)
        first = next((k + 1 for k, pair in enumerate(zip(losses[0], losses[number])) if pair[0] != pair[1]), 'none')
        print(f'{options.arch}, {precision}, {options.steps} steps of {options.batch}: {what}: '
              f'{"equal to the bit" if same else f"DIFFERENT (first loss that differs: {first})"}; loss {losses[0][0]:.4f} to {losses[0][-1]:.4f}',
              flush=True)
        equal.append(same)
    for file in files:
        file.unlink()
    return all(equal)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps.add_options(parser)
    parser.add_argument('--arch', default='resnet50')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--image', type=int, default=224)
    parser.add_argument('--precisions', default='fp16,bf16,tf32')
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--inject', action='store_true')
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)

    batches = options.work / 'bits.safetensors'
    steps.write_batches(batches, [nets.learnable_samples(seed, options.batch, options.image, options.image, 10) for seed in range(4)])
    return steps.judge_all([(precision,) for precision in options.precisions.split(',')],
                           lambda precision: judge(precision, batches, options))


if __name__ == '__main__':
    sys.exit(main())
