#!/usr/bin/env python3
"""Gradients of whole networks, tensor by tensor: slackline's and PyTorch's from the same weights and batch.

  python3 gradients.py [--cases resnet50:symmetric,resnet18:same] [--precisions fp32,tf32,fp16,bf16] [--batch 32]
                       [--image 224] [--worst 5] [--faults] [--bench FILE] [--model resnet_cudnn] [--work DIR]

slackline makes three steps with a rate of 0, so that the gradients compared come out of the graph that the second
captured. The truth is PyTorch in float64. A tensor is right if

- its cosine to the truth is at least 0.999 and its norm within 2 % of the truth's; or else
- its relative error |g - truth| / |truth| is at most twice that of PyTorch in the same precision, and below 0.5.

The second is for kinks: where 16 bits round a ReLU's input to the other side of zero, a gradient jumps, PyTorch's as
well, and both are as far from the truth as their precision makes them: in bf16 PyTorch's own cosine to float64 is 0.97
in the median of ResNet-50's tensors. How many tensors needed it is in the table. All
tensors together must be at most 1.25 times as far from the truth as PyTorch is (or 0.045, which is a cosine of 0.999).
No tensor of these networks has a gradient that is zero in exact arithmetic, so none is judged by its size.

Loss and running statistics are held to a relative error of 1e-4 (fp32), 1e-2 (tf32, fp16), 5e-2 (bf16); logits are
seen in the gradient of fc.bias, which is the mean of softmax minus target.

--faults also gives slackline, for the first case and in every precision, two kernels of one shape in each other's
place, one wrong label, and the other padding, and demands that each is found wrong.
Exit status: 0 if all is as it should be, 1 if not, 2 if something could not run.
"""
import argparse, sys

import steps
from steps import np, nets, torch

TOLERANCE = {'fp32': 1e-4, 'tf32': 1e-2, 'fp16': 1e-2, 'bf16': 5e-2}
STEPS = 3  # plain, captured, replayed
CLASSES = 10
FAULTS = ('weights in each other\'s place', 'a wrong label', 'the other padding')


def problem(arch, padding, options):
    """weights, images, labels. The last batch norm of a block begins at a tenth, as networks are trained in practice
    from 0: rounding then grows less from block to block, so that less of it is forgiven."""
    model = nets.build(arch, CLASSES, padding)
    weights = nets.initial_weights(model, 1)
    last = '.bn3.weight' if arch == 'resnet50' else '.bn2.weight'
    for name in weights:
        if name.endswith(last):
            weights[name] *= np.float32(0.1)
    return weights, *nets.learnable_samples(1, options.batch, options.image, options.image, CLASSES)


def of_torch(arch, padding, precision, weights, images, labels, device):
    model = nets.build(arch, CLASSES, padding)
    with torch.no_grad():
        for name, values in weights.items():
            model.get_parameter(name).copy_(torch.from_numpy(values))
    loss = steps.TorchStep(model, precision, device)(images, labels)
    gradients = {name: p.grad.double().cpu().numpy() for name, p in model.named_parameters()}
    running = {name: b.double().cpu().numpy() for name, b in model.named_buffers() if 'running' in name}
    return loss, gradients, running


def with_fault(fault, padding, weights, labels):
    weights, labels = dict(weights), labels.copy()
    if fault == 'weights in each other\'s place':
        names = [name for name, values in weights.items() if values.shape == weights['layer1.1.conv2.weight'].shape]
        weights[names[0]], weights[names[1]] = weights[names[1]], weights[names[0]]
    elif fault == 'a wrong label':
        labels[0] = (labels[0] + 1) % CLASSES
    elif fault == 'the other padding':
        padding = 'same' if padding == 'symmetric' else 'symmetric'
    return padding, weights, labels


def of_slackline(arch, padding, precision, weights, images, labels, options):
    initial = nets.build(arch, CLASSES, padding).state_dict()
    running = {name: values.numpy() for name, values in initial.items() if 'running' in name}
    files = {name: options.work / f'{name}.safetensors' for name in ('weights', 'batch', 'tensors')}
    steps.write_weights(files['weights'], weights | running)
    steps.write_batches(files['batch'], [(images, labels)])
    losses = steps.train(options, files['batch'], steps.model_options(options, arch, padding, precision), files['tensors'],
                         weights=files['weights'], classes=CLASSES, steps=STEPS, rate=0)
    found = steps.load_file(files['tensors'])
    gradients = {name: found['gradient.' + name].astype(np.float64) for name in weights}
    return losses, gradients, {name: found[name].astype(np.float64) for name in running}


def moved_on(running):
    """Running statistics after STEPS steps on the same batch, from those after one: 0.9 of the old, 0.1 of the batch's."""
    keep = 1 - nets.BATCH_NORM_MOMENTUM
    moved = {}
    for name, after_one in running.items():
        start = 1.0 if name.endswith('var') else 0.0
        of_batch = (after_one - keep * start) / nets.BATCH_NORM_MOMENTUM
        moved[name] = keep**STEPS * start + (1 - keep**STEPS) * of_batch
    return moved


def relative(mine, truth):
    return float(np.linalg.norm(mine - truth) / np.linalg.norm(truth))


def flat(tensors):
    return np.concatenate([values.ravel() for values in tensors.values()])


def compare_tensors(mine, peer, truth):
    """A row for each tensor: (is right, by cosine, name, cosine, ratio of norms, error, PyTorch's error)."""
    rows = []
    for name, exact in truth.items():
        norm, own = np.linalg.norm(exact), np.linalg.norm(mine[name])
        cosine = float(np.vdot(mine[name], exact) / (norm * own)) if own > 0 else 0.0
        ratio, error, of_peer = float(own / norm), relative(mine[name], exact), relative(peer[name], exact)
        by_cosine = cosine >= 0.999 and abs(ratio - 1) <= 0.02
        rows.append((by_cosine or error <= min(2 * of_peer, 0.5), by_cosine, name, cosine, ratio, error, of_peer))
    return rows


def judge(case, precision, with_faults, options):
    arch, padding = case.split(':')
    device = steps.device_of(options)
    if case not in options.truths:
        given = problem(arch, padding, options)
        options.truths[case] = given, of_torch(arch, padding, 'fp64', *given, device)
    (weights, images, labels), (truth_loss, truth, truth_running) = options.truths[case]
    peer_loss, peer, _ = of_torch(arch, padding, precision, weights, images, labels, device)
    whole_of_peer = relative(flat(peer), flat(truth))
    as_expected = True
    for fault in (None, *(FAULTS if with_faults else ())):
        given = with_fault(fault, padding, weights, labels)
        losses, mine, running = of_slackline(arch, given[0], precision, given[1], images, given[2], options)
        rows = compare_tensors(mine, peer, truth)
        whole = relative(flat(mine), flat(truth))
        errors = {'loss': abs(losses[-1] / truth_loss - 1),
                  'running statistics': relative(flat(running), flat(moved_on(truth_running)))}
        wrong = [name for name, error in errors.items() if not error <= TOLERANCE[precision]]
        if not whole <= max(0.045, 1.25 * whole_of_peer):
            wrong.append('all gradients')
        tensors = [row[2] for row in rows if not row[0]]
        verdict = 'WRONG' if wrong or tensors else 'right'
        if fault:
            verdict = f'{fault}: ' + ('found' if wrong or tensors else 'NOT FOUND')
        if wrong or tensors:
            verdict += f': {", ".join(wrong + [f"{len(tensors)} tensors"])}'
        as_expected &= bool(wrong or tensors) == bool(fault)
        print(f'| {arch}, {padding} | {precision} | {truth_loss:.6f} | {errors["loss"]:.1e} ({abs(peer_loss / truth_loss - 1):.1e}) | '
              f'{errors["running statistics"]:.1e} | {whole:.1e} ({whole_of_peer:.1e}) | {min(row[3] for row in rows):.5f} | '
              f'{sum(row[1] for row in rows)} + {sum(row[0] and not row[1] for row in rows)} of {len(rows)} | {verdict} |', flush=True)
        if not fault:
            # Wrong ones first, then those that PyTorch's error excuses, then those by cosine.
            worst = sorted(rows, key=lambda row: (row[0], row[1], row[3]))
            options.worst_rows += [(arch, precision, *row) for row in worst[:options.worst]]
    return as_expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps.add_options(parser)
    parser.add_argument('--cases', default='resnet50:symmetric,resnet18:same')
    parser.add_argument('--precisions', default='fp32,tf32,fp16,bf16')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--image', type=int, default=224)
    parser.add_argument('--worst', type=int, default=5, help='tensors of each case to print')
    parser.add_argument('--faults', action='store_true')
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.truths, options.worst_rows = {}, []
    torch.set_num_threads(options.threads if steps.device_of(options).type == 'cpu' else torch.get_num_threads())
    print(f'Gradients of {options.batch} images of {options.image} x {options.image}; in brackets PyTorch {torch.__version__} in the same precision\n')
    print('| network, padding | precision | loss | its error | running statistics | all gradients: error | worst cosine | '
          'right by cosine + as near as PyTorch | |\n|---|---|---|---|---|---|---|---|---|')
    cases = options.cases.split(',')
    status = steps.judge_all([(case, precision) for case in cases for precision in options.precisions.split(',')],
                             lambda case, precision: judge(case, precision, options.faults and case == cases[0], options))
    print('\n| network | precision | tensor | cosine | norm / truth\'s | error | PyTorch\'s error | |\n|---|---|---|---|---|---|---|---|')
    for arch, precision, is_right, by_cosine, name, cosine, ratio, error, of_peer in options.worst_rows:
        verdict = 'by cosine' if by_cosine else 'as near as PyTorch' if is_right else 'WRONG'
        print(f'| {arch} | {precision} | {name} | {cosine:.5f} | {ratio:.4f} | {error:.1e} | {of_peer:.1e} | {verdict} |')
    return status


if __name__ == '__main__':
    sys.exit(main())
