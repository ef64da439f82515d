#!/usr/bin/env python3
"""resnet_cudnn against PyTorch on the GPU: training steps on a resident batch, in turns.

  python3 compare.py [--bench build/release/bin/bench_gpu_resnet] [--python python3] [--rounds 3] [--batch 256]
                     [--precisions fp16,bf16,fp32] [--modes eager,max-autotune] [--seconds 600]

Prints a table: medians, with the lowest and the highest round (../turns.py). slackline runs at fusion level 0
(everything apart) and 1 (batch norm, sum and ReLU in one), launched as a stream and as a graph. fp32 is TF32 on
both sides. Nothing begins after --seconds; the precisions share them equally, and what one leaves goes to the next.
Exit status: 1 if one of slackline's rows is missing.
"""
import argparse, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import turns


def programs_of(options, precision):
    common = ['--batch', options.batch, '--precision', precision, '--windows', options.windows, '--steps', options.steps, '--warmup', options.warmup]
    programs = {}
    for level, flags in ((0, ['--separate']), (1, [])):
        for launch in ('stream', 'graph'):
            programs[f'slackline, level {level}, {launch}'] = [options.bench, '--launch', launch, *flags, *common]
    for mode in options.modes.split(','):
        programs[f'PyTorch {mode}'] = [options.python, HERE / 'torch_step.py', '--mode', mode, *common]
    return programs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bench', default=str(HERE.parents[1] / 'build/release/bin/bench_gpu_resnet'))
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--windows', type=int, default=3)
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument('--warmup', type=int, default=20)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--precisions', default='fp16,bf16,fp32')
    parser.add_argument('--modes', default='eager,max-autotune')
    parser.add_argument('--seconds', type=float, default=600)
    options = parser.parse_args()
    begin = time.monotonic()
    print(f'ResNet-50, {options.batch} images of 224 x 224; windows of {options.steps} steps\n')
    print(f'| precision | {turns.HEADER}\n|---|---|---|---|---|', flush=True)
    precisions = options.precisions.split(',')
    missing = []
    for number, precision in enumerate(precisions):
        programs = programs_of(options, precision)
        rounds = turns.rounds_of(programs, options.rounds, begin + options.seconds * (number + 1) / len(precisions))
        turns.print_rows('TF32' if precision == 'fp32' else precision, programs, rounds)
        missing += [f'{name}, {precision}' for name in programs if not any(name in rates for rates in rounds)]
    if missing:
        print(f'not measured: {"; ".join(missing)}')
    return 1 if any(name.startswith('slackline') for name in missing) else 0


if __name__ == '__main__':
    sys.exit(main())
