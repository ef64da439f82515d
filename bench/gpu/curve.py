#!/usr/bin/env python3
"""Loss curves: slackline's must lie where PyTorch's own lie when they begin elsewhere.

  python3 curve.py [--precisions fp16,bf16,tf32] [--arch cifar20] [--batch 64] [--image 16] [--faults]
                   [--bench FILE] [--model resnet_cudnn] [--work DIR]

100 steps on 2048 made-up images of ten classes that a network can learn. PyTorch trains three times, each time from
other initial weights and in another order; slackline trains once, from a fourth set of PyTorch's initial weights and in
a fourth order. So the four are drawn alike, if slackline is right.

The band: losses are averaged over 10 steps and their logarithms taken. In each of the ten windows the band goes from the
lowest of the three to the highest, widened on both sides by WIDENING times the spread, which is the difference between
highest and lowest, averaged over all windows. What is printed as `out` is how far slackline leaves lowest..highest at
worst, in spreads: at most WIDENING is right.

Rate and weight decay are chosen so that both shape the curve within 100 steps (the decay alone takes weights to a third).
--faults also trains slackline with a rate off by a factor of 2, without momentum, without decay and with twice the
decay, and demands that all of these leave the band: that shows its power where it is used.
Exit status: 0 if all is as it should be, 1 if not, 2 if something could not run.
"""
import argparse, sys

import steps
from steps import np, nets, torch

STEPS, WINDOW, SAMPLES, CLASSES, NOISE = 100, 10, 2048, 10, 60
SEEDS, OWN_SEED = (1, 2, 3), 4
WIDENING = 3
SETTINGS = {'rate': 0.01, 'momentum': 0.9, 'decay': 0.1}
FAULTS = {'rate x 2': {'rate': 0.02}, 'rate / 2': {'rate': 0.005}, 'no momentum': {'momentum': 0}, 'no decay': {'decay': 0},
          'decay x 2': {'decay': 0.2}}


def network(arch, seed):
    torch.manual_seed(seed)
    return nets.build(arch, CLASSES, 'symmetric')


def batches_of(seed, options):
    """The batches of all steps: every sample as often as any other, in an order of the seed."""
    images, labels = nets.learnable_samples(1, SAMPLES, options.image, options.image, CLASSES, NOISE)
    samples = STEPS * options.batch
    order = np.random.default_rng(seed).permutation(np.arange(-(-samples // SAMPLES) * SAMPLES) % SAMPLES)[:samples]
    return [(images[part], labels[part]) for part in np.split(order, STEPS)]


def of_torch(seed, precision, options):
    step = steps.TorchStep(network(options.arch, seed), precision, steps.device_of(options))
    optimizer = torch.optim.SGD(step.model.parameters(), SETTINGS['rate'], SETTINGS['momentum'], weight_decay=SETTINGS['decay'])
    losses = []
    for images, labels in batches_of(seed, options):
        losses.append(step(images, labels))
        optimizer.step()
    return losses


def windows(losses):
    with np.errstate(invalid='ignore'):
        return np.log(np.asarray(losses).reshape(-1, WINDOW).mean(1))


def distance_out(curve, peers):
    """How far the curve leaves the peers' lowest..highest, in spreads."""
    low, high = peers.min(0), peers.max(0)
    return float(max((low - curve).max(), (curve - high).max()) / (high - low).mean())


def row(precision, name, curve, out, verdict):
    print(f'| {precision} | {name} | ' + ' | '.join(f'{value:.3f}' for value in np.exp(curve)) + f' | {out} | {verdict} |', flush=True)


def judge(precision, options):
    peers = np.stack([windows(of_torch(seed, precision, options)) for seed in SEEDS])
    for seed, curve in zip(SEEDS, peers):
        row(precision, f'PyTorch, seed {seed}', curve, '', '')
    weights, batches = options.work / 'curve_weights.safetensors', options.work / 'curve.safetensors'
    steps.save_file({name: values.numpy() for name, values in network(options.arch, OWN_SEED).state_dict().items()}, weights)
    steps.write_batches(batches, batches_of(OWN_SEED, options))
    as_expected = True
    for name, change in ({'slackline': {}} | (FAULTS if options.faults else {})).items():
        losses = steps.train(options, batches, steps.model_options(options, options.arch, 'symmetric', precision),
                             weights=weights, classes=CLASSES, steps=STEPS, **(SETTINGS | change))
        curve = windows(losses)
        out = distance_out(curve, peers)
        is_inside = out <= WIDENING  # not so for NaN
        as_expected &= is_inside == (not change)
        verdict = 'inside' if is_inside else 'OUTSIDE' if not change else 'outside, as it should be'
        if change and is_inside:
            verdict = 'NOT SEEN'
        row(precision, name, curve, f'{out:.1f}', verdict)
    return as_expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps.add_options(parser)
    parser.add_argument('--precisions', default='fp16,bf16,tf32')
    parser.add_argument('--arch', default='cifar20')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--image', type=int, default=16)
    parser.add_argument('--faults', action='store_true')
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if steps.device_of(options).type == 'cpu':
        torch.set_num_threads(options.threads)
    print(f'{options.arch}, {options.batch} images of {options.image} x {options.image} a step: mean loss of steps 1-10, 11-20, ...\n')
    print('| precision | program |' + ' |' * (STEPS // WINDOW) + ' out | |\n|' + '---|' * (STEPS // WINDOW + 4))
    return steps.judge_all([(precision,) for precision in options.precisions.split(',')], lambda precision: judge(precision, options))


if __name__ == '__main__':
    sys.exit(main())
