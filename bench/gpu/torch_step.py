#!/usr/bin/env python3
"""A training step of ResNet-50 in PyTorch on the GPU, timed: what bench_gpu_resnet is compared with.

  python3 torch_step.py [--arch resnet50] [--batch 256] [--image 224] [--precision fp16|bf16|fp32]
                        [--mode eager|compile|reduce-overhead|max-autotune] [--windows 5] [--steps 50] [--warmup 20] [--serve]

PyTorch at its best: channels_last, cudnn.benchmark, fused SGD, the batch resident, already normalised and in the precision
that the first convolution wants, autocast with a GradScaler for fp16, TF32 for fp32. torch.compile in its default mode, or in
one that also uses CUDA graphs (reduce-overhead), or tries kernels as well (max-autotune). Windows of steps run without a wait in
between. One line of JSON on stdout; with --serve one when the steps before are done, and one for each line on stdin, which
asks for a window.
"""
import argparse, json, statistics, sys, time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='resnet50')
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--image', type=int, default=224)
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument('--precision', choices=('fp16', 'bf16', 'fp32'), default='fp16')
    parser.add_argument('--mode', choices=('eager', 'compile', 'reduce-overhead', 'max-autotune'), default='eager')
    parser.add_argument('--windows', type=int, default=5)
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument('--warmup', type=int, default=20)
    parser.add_argument('--serve', action='store_true')
    options = parser.parse_args()

    import torch
    import torchvision
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device('cuda')
    model = getattr(torchvision.models, options.arch)(num_classes=options.classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    dtype = {'fp16': torch.float16, 'bf16': torch.bfloat16, 'fp32': torch.float32}[options.precision]
    images = torch.randn(options.batch, 3, options.image, options.image, device=device)
    images = images.to(dtype, memory_format=torch.channels_last)
    labels = torch.arange(options.batch, device=device) % options.classes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    is_fp16 = options.precision == 'fp16'
    scaler = torch.amp.GradScaler('cuda', init_scale=128, enabled=is_fp16)
    network = model
    if options.mode != 'eager':
        network = torch.compile(model, mode=None if options.mode == 'compile' else options.mode)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast('cuda', dtype, enabled=options.precision != 'fp32'):
            loss = criterion(network(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    def window():
        begin = time.perf_counter()
        for _ in range(options.steps):
            loss = step()
        torch.cuda.synchronize()
        return options.batch * options.steps / (time.perf_counter() - begin), loss.item()

    for _ in range(options.warmup):
        step()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # what the search for the fastest kernels has left, for others on this GPU
    about = {
        'program': f'PyTorch {options.mode}', 'torch': torch.__version__, 'cudnn': torch.backends.cudnn.version(),
        'device': torch.cuda.get_device_name(), 'arch': options.arch, 'batch': options.batch, 'image': options.image,
        'precision': options.precision,
    }
    if options.serve:
        print(json.dumps(about), flush=True)
        for _ in sys.stdin:
            rate, loss = window()
            print(json.dumps({'images_per_second': rate, 'loss': loss}), flush=True)
        return
    windows = [window() for _ in range(options.windows)]
    rates = [rate for rate, _ in windows]
    print(json.dumps(about | {'images_per_second': statistics.median(rates), 'windows': rates, 'loss': windows[-1][1]}))


if __name__ == '__main__':
    main()
