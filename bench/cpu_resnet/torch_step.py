#!/usr/bin/env python3
"""One training step of a ResNet in PyTorch on the CPU, timed: what the step of `resnet_cpu` is compared with.

  python3 torch_step.py [--arch resnet50] [--batch 16] [--image 224] [--dtype fp32|bf16] [--mode eager|compile]
                        [--malloc keep|default] [--threads 2] [--steps 10] [--warmup 3] [--forward] [--format json]

A step is forward, mean cross-entropy, backward, SGD with momentum 0.9, on the same batch in memory every time, so no input
path is in it. Activations and weights are channels_last. bf16 is autocast: weights, gradients and update stay float32.
--forward times the forward pass alone instead, in training mode and without gradients.

--malloc keep starts the process again with
  MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1e12 MALLOC_TOP_PAD_=256 MiB GLIBC_TUNABLES=glibc.malloc.hugetlb=1
so that glibc keeps the memory of one step for the next one, in huge pages. By default it gives blocks of this size back to
the kernel, and every step faults them in again. keep is the default here: PyTorch at its best is the fair peer.

zero_grad is (set_to_none=True), torch's default and the faster one: --keep-grad measures the other, which writes zeros to
every gradient and adds to them.

One line of JSON on stdout. Needs torch and torchvision (pip); --mode compile also a C++ compiler.
"""
import argparse, json, os, platform, statistics, sys, time
from pathlib import Path

KEEP = {
    'MALLOC_MMAP_MAX_': '0',
    'MALLOC_TRIM_THRESHOLD_': '1000000000000',
    'MALLOC_TOP_PAD_': str(256 << 20),
    'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1',
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='resnet50', choices=('resnet18', 'resnet34', 'resnet50', 'cifar20', 'cifar56'))
    parser.add_argument('--classes', type=int, help='1000, or 10 for cifar20 and cifar56')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--image', type=int, help='side in pixels: 224, or 32 for cifar20 and cifar56')
    parser.add_argument('--dtype', choices=('fp32', 'bf16'), default='fp32')
    parser.add_argument('--mode', choices=('eager', 'compile'), default='eager')
    parser.add_argument('--malloc', choices=('keep', 'default'), default='keep')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--warmup', type=int, default=3)
    parser.add_argument('--forward', action='store_true', help='the forward pass alone')
    parser.add_argument('--keep-grad', action='store_true', help='zero_grad(set_to_none=False)')
    parser.add_argument('--format', choices=('json',), default='json')
    options = parser.parse_args()
    cifar = options.arch.startswith('cifar')
    options.classes = options.classes or (10 if cifar else 1000)
    options.image = options.image or (32 if cifar else 224)
    return options


def measure(options):
    import torch
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tests/golden/resnet'))
    import torch_resnet as nets
    from torch.nn import functional as F

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = nets.build(options.arch, options.classes, 'symmetric').to(memory_format=torch.channels_last).train()
    images, labels = nets.batch(1, 0, options.batch, options.image, options.image, options.classes)
    images = nets.normalise(images).to(memory_format=torch.channels_last)
    labels = torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    network = torch.compile(model) if options.mode == 'compile' else model

    def forward():
        with torch.autocast('cpu', torch.bfloat16, enabled=options.dtype == 'bf16'):
            return network(images)

    def step():
        if options.forward:
            with torch.no_grad():
                return forward().float().sum().item()
        optimizer.zero_grad(set_to_none=not options.keep_grad)
        loss = F.cross_entropy(forward().float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    times_ms = []
    for _ in range(options.warmup + options.steps):
        start = time.perf_counter()
        step()
        times_ms.append((time.perf_counter() - start) * 1e3)
    timed = times_ms[options.warmup:]
    median = statistics.median(timed)
    return {
        'arch': options.arch, 'batch': options.batch, 'image': options.image, 'classes': options.classes,
        'dtype': options.dtype, 'mode': options.mode, 'malloc': options.malloc, 'threads': options.threads,
        'what': 'forward' if options.forward else 'step',
        'zero_grad': 'zeros' if options.keep_grad else 'none',
        'warmup_ms': [round(t, 1) for t in times_ms[:options.warmup]],
        'step_ms': [round(t, 1) for t in timed],
        'median_step_ms': round(median, 2),
        'images_per_second': round(options.batch * 1e3 / median, 2),
        'torch': torch.__version__, 'cpu_capability': torch.backends.cpu.get_cpu_capability(),
        'python': platform.python_version(), 'load_average_after': os.getloadavg()[0],
    }


def main():
    options = parse()
    wanted = KEEP if options.malloc == 'keep' else {}
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
    found = [key for key in KEEP if options.malloc == 'default' and key in os.environ]
    if found:
        sys.exit(f'--malloc default, but the environment has {", ".join(found)}')
    print(json.dumps(measure(options)))


if __name__ == '__main__':
    main()
