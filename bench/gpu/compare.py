#!/usr/bin/env python3
"""resnet_cudnn against PyTorch on the GPU: training steps on a resident batch, window by window in turns.

  python3 compare.py [--bench build/release/bin/bench_gpu_resnet] [--python python3] [--rounds 5] [--steps 50]
                     [--batch 256] [--precisions fp16,bf16,fp32] [--modes eager,compile,reduce-overhead]
                     [--plan-cache FILE] [--seconds 3600]

Every program is started once and stays; each round runs a window of steps of each (../turns.py). The table has
medians, with the lowest and the highest round. Both sides look for cuDNN's fastest engines before they are timed.
fp32 is TF32 on both sides.

The first precision has slackline at fusion level 0 (everything apart) and 1 (batch norm, sum and ReLU in one), launched
as a stream and as a graph, and all of PyTorch's --modes. The others have level 1 with a graph, PyTorch eager, and the
compiled mode that was fastest before. Nothing begins after --seconds.
Behind the table: what level 1 with a graph is of the best torch.compile, of which 1.1 is promised; and who used which cuDNN.
Exit status: 1 if one of slackline's programs gave no rate.
"""
import argparse, statistics, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import turns

MAIN = 'slackline, level 1, graph'
PROMISED = 1.1


def programs_of(options, precision, modes, is_first):
    common = ['--serve', '--batch', options.batch, '--precision', precision, '--steps', options.steps, '--warmup', options.warmup]
    programs = {}
    for level, flags in ((1, []), (0, ['--separate'])):
        for launch in ('graph', 'stream'):
            name = f'slackline, level {level}, {launch}'
            if is_first or name == MAIN:
                programs[name] = turns.Resident([options.bench, '--launch', launch, '--plan-cache', options.plan_cache, *flags, *common])
    for mode in modes:
        programs[f'PyTorch {mode}'] = turns.Resident([options.python, HERE / 'torch_step.py', '--mode', mode, *common])
    return programs


def start(programs, until):
    """One after the other, so that none looks for its fastest kernels while another computes. Two thirds of the time may go
    into it: what is ready by then is timed."""
    until = time.monotonic() + (until - time.monotonic()) * 2 / 3
    for name, program in list(programs.items()):
        begin = time.monotonic()
        try:
            if begin > until:
                raise turns.Failed('out of time')
            program.start_limit = min(program.start_limit, until - begin)
            program.start(tempfile.TemporaryFile())
            print(f'{name}: ready after {time.monotonic() - begin:.0f} s', file=sys.stderr, flush=True)
        except turns.Failed as why:
            print(f'{name}: left out: {why}', file=sys.stderr, flush=True)
            program.close()
            del programs[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bench', default=str(HERE.parents[1] / 'build/release/bin/bench_gpu_resnet'))
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--steps', type=int, default=50, help='of a window')
    parser.add_argument('--warmup', type=int, default=20)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--precisions', default='fp16,bf16,fp32')
    parser.add_argument('--modes', default='eager,compile,reduce-overhead', help='of torch_step.py; max-autotune takes minutes more')
    parser.add_argument('--plan-cache', default='', help='kept between calls if it is named')
    parser.add_argument('--seconds', type=float, default=3600)
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    scratch = tempfile.TemporaryDirectory()
    options.plan_cache = options.plan_cache or str(Path(scratch.name) / 'plans.json')
    print(f'ResNet-50, {options.batch} images of 224 x 224; windows of {options.steps} steps\n')
    print(f'| precision | {turns.HEADER}\n|---|---|---|---|---|', flush=True)
    modes, missing, notes = options.modes.split(','), [], []
    for number, precision in enumerate(options.precisions.split(',')):
        label = 'TF32' if precision == 'fp32' else precision
        programs = programs_of(options, precision, modes, number == 0)
        wanted = list(programs)
        start(programs, until)
        rounds = turns.rounds_of(programs, options.rounds, until)
        turns.print_rows(label, programs, rounds)
        missing += [f'{name}, {label}' for name in wanted if not any(name in rates for rates in rounds)]
        versions = {name.split()[0].strip(','): program.about.get('cudnn') for name, program in programs.items()}
        notes.append(f'{label}: cuDNN of ' + ', '.join(f'{name} {version}' for name, version in versions.items()))
        compiled = [name for name in programs if name.startswith('PyTorch') and name != 'PyTorch eager']
        ratios = turns.ratios_to(rounds, MAIN, compiled)
        if ratios:
            reached = 'reached' if statistics.median(ratios) >= PROMISED else 'NOT REACHED'
            notes.append(f'{label}: {MAIN} is {turns.spread(ratios, 3)} of the best torch.compile; {PROMISED} is {reached}')
        for program in programs.values():
            program.close()
        medians = {name: statistics.median(found) for name in compiled if (found := [rates[name] for rates in rounds if name in rates])}
        if number == 0 and medians:
            modes = [mode for mode in modes if mode == 'eager' or f'PyTorch {mode}' == max(medians, key=medians.get)]
    print()
    for note in notes:
        print(f'- {note}')
    if missing:
        print(f'- not measured: {"; ".join(missing)}')
    return 1 if any(name.startswith('slackline') for name in missing) else 0


if __name__ == '__main__':
    sys.exit(main())
