#!/usr/bin/env python3
"""resnet_cudnn against PyTorch on the GPU: training steps on a resident batch, in turns.

  python3 compare.py [--bench build/release/bin/bench_gpu_resnet] [--python python3] [--rounds 3] [--batch 256]
                     [--precisions fp16,bf16,fp32] [--modes eager,compile] [--seconds 600]

Each round runs every program once in a fresh process, in an order that rotates; ratios are taken within a round against
PyTorch's best of that round. Prints a table: medians, with the lowest and the highest round. slackline runs at fusion
level 0 (everything apart) and 1 (batch norm, sum and ReLU in one), launched as a stream and as a graph. A program that
fails is said and left out. No round begins after --seconds.
"""
import argparse, json, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or ['no output'])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])['images_per_second'], None


def programs_of(options, precision):
    common = ['--batch', options.batch, '--precision', precision, '--windows', options.windows, '--steps', options.steps]
    programs = {}
    for level, flags in ((0, ['--separate']), (1, [])):
        for launch in ('stream', 'graph'):
            programs[f'slackline, level {level}, {launch}'] = [options.bench, '--launch', launch, *flags, *common]
    for mode in options.modes.split(','):
        programs[f'PyTorch {mode}'] = [options.python, str(HERE / 'torch_step.py'), '--mode', mode, *common]
    return {name: [str(part) for part in command] for name, command in programs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bench', default=str(HERE.parents[1] / 'build/release/bin/bench_gpu_resnet'))
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--windows', type=int, default=3)
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--precisions', default='fp16,bf16,fp32')
    parser.add_argument('--modes', default='eager,compile')
    parser.add_argument('--seconds', type=float, default=600)
    options = parser.parse_args()
    begin = time.monotonic()
    print(f'ResNet-50, {options.batch} images of 224 x 224; windows of {options.steps} steps\n')
    print('| precision | program | rounds | images/s (min..max) | of PyTorch\'s best (min..max) |\n|---|---|---|---|---|', flush=True)
    for precision in options.precisions.split(','):
        programs = programs_of(options, precision)
        names = list(programs)
        rounds = []
        for number in range(options.rounds):
            if time.monotonic() - begin > options.seconds:
                break
            rates = {}
            for name in names[number % len(names):] + names[:number % len(names)]:
                rate, why = run(programs[name])
                if rate is None:
                    print(f'{name}, {precision}: left out: {why}', file=sys.stderr)
                    names = [other for other in names if other != name]
                else:
                    rates[name] = rate
            rounds.append(rates)
        for name in programs:
            found = [(rates[name], max((rates[peer] for peer in rates if peer.startswith('PyTorch')), default=None))
                     for rates in rounds if name in rates]
            if not found:
                continue
            own = [rate for rate, _ in found]
            ratios = [rate / best for rate, best in found if best]
            ratio = f'{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f})' if ratios else '-'
            print(f'| {precision} | {name} | {len(own)} | {statistics.median(own):.0f} ({min(own):.0f}..{max(own):.0f}) | {ratio} |', flush=True)


if __name__ == '__main__':
    main()
