#!/usr/bin/env python3
"""resnet_cpu against PyTorch on the CPU: training steps on resident data, in turns.

  python3 compare.py [--bench build/release/bin/bench_cpu_resnet] [--python python3] [--rounds 5] [--steps 5]
                     [--batches 16,32] [--dtypes fp32,bf16] [--modes eager,compile] [--arch resnet50] [--image 224]

Each round runs every program once in a fresh process, in an order that rotates; ratios are taken within a round against
PyTorch's best of that round. Prints a table: medians, with the lowest and the highest round. --python is one that has torch and
torchvision. What a machine cannot compute (bf16 without AVX-512, torch.compile without a compiler) is said and left out.
"""
import argparse, json, statistics, subprocess, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or ['no output'])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])['images_per_second'], None


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
    print('| dtype | batch | program | images/s (min..max) | of PyTorch\'s best (min..max) |\n|---|---|---|---|---|')
    for dtype in options.dtypes.split(','):
        for batch in options.batches.split(','):
            programs = {'slackline': [options.bench, '--depth', options.arch.removeprefix('resnet').removeprefix('cifar'), '--precision', dtype]}
            for mode in options.modes.split(','):
                programs[f'PyTorch {mode}'] = [options.python, str(HERE / 'torch_step.py'), '--arch', options.arch, '--dtype', dtype, '--mode', mode]
            rates = {name: [] for name in programs}
            names = list(programs)
            for number in range(options.rounds):
                for name in names[number % len(names):] + names[:number % len(names)]:
                    if name not in rates:
                        continue
                    rate, why = run([str(part) for part in programs[name] + common + ['--batch', batch]])
                    if rate is None:
                        print(f'{name}, {dtype}, {batch}: left out: {why}', file=sys.stderr)
                        del rates[name]
                    else:
                        rates[name].append(rate)
            peers = [name for name in rates if name != 'slackline']
            best = [max(rates[name][i] for name in peers) for i in range(options.rounds)] if peers else []
            for name, each in rates.items():
                ratios = [rate / peak for rate, peak in zip(each, best)]
                of_best = f'{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f})' if ratios else ''
                print(f'| {dtype} | {batch} | {name} | {statistics.median(each):.2f} ({min(each):.2f}..{max(each):.2f}) | {of_best} |', flush=True)


if __name__ == '__main__':
    main()
