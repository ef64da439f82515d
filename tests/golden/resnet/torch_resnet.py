"""The networks of these golden files as torch modules, and the formulas that make their weights and batches.

build(arch, classes, padding) gives a module whose state dict has torchvision's names. README.md states every formula
in words; here they are in numpy. Needs torch, torchvision, numpy.
"""
import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

MEANS = (123.68, 116.78, 103.94)
SCALE = 1 / 58
BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.1  # torch's sense: running = 0.9 * running + 0.1 * batch

IMAGES_INDEX = 10000       # batch b: images 10000 + 2b, labels 10001 + 2b
SIGNS_SEED = 0x5EED << 48
ENTRIES_SEED = 0x1DE5 << 48
BUFFERS_INDEX = 20000      # running statistic number k is tensor 20000 + k in the sketches


# Padding as TensorFlow's "SAME".

def same_pad(height, width, kernel, stride):
    """(left, right, top, bottom) as F.pad takes them: what is missing, the smaller half before."""
    sides = []
    for size in (width, height):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides += [total // 2, total - total // 2]
    return sides


class SameConv2d(nn.Conv2d):
    """A square convolution, padded with zeros as TensorFlow's SAME."""

    def forward(self, x):
        return F.conv2d(F.pad(x, same_pad(*x.shape[-2:], self.kernel_size[0], self.stride[0])), self.weight, None,
                        self.stride)


class SameMaxPool2d(nn.Module):
    """A 3x3 maximum with stride 2 over the pixels that exist, padded as TensorFlow's SAME."""

    def forward(self, x):
        return F.max_pool2d(F.pad(x, same_pad(*x.shape[-2:], 3, 2), value=-torch.inf), 3, 2)


def pad_as_tensorflow(module):
    """Changes the 3x3 convolutions and the pool. The 7x7 stem pads 3 on all sides in TensorFlow's models as well."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and child.kernel_size == (3, 3):
            setattr(module, name, SameConv2d(child.in_channels, child.out_channels, 3, child.stride, bias=False))
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, SameMaxPool2d())
        else:
            pad_as_tensorflow(child)


# ResNet for CIFAR, after resnet_cifar_model.py of tensorflow/models.

class CifarBlock(nn.Module):
    def __init__(self, inputs, filters, stride, projection):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, filters, 1, stride, bias=False),
                                        nn.BatchNorm2d(filters)) if projection else nn.Identity()

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class CifarResNet(nn.Module):
    def __init__(self, depth, classes):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, filters in enumerate((16, 32, 64)):
            layers = []
            for block in range(blocks):
                layers.append(CifarBlock(inputs, filters, 2 if stage > 0 and block == 0 else 1, block == 0))
                inputs = filters
            setattr(self, f'layer{stage + 1}', nn.Sequential(*layers))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


def build(arch, classes, padding):
    """arch: resnet18, resnet34, resnet50, cifar20, cifar56. padding: symmetric (torchvision) or same (TensorFlow)."""
    if arch.startswith('cifar'):
        model = CifarResNet(int(arch[5:]), classes)
    else:
        model = getattr(torchvision.models, arch)(weights=None, num_classes=classes)
    if padding == 'same':
        pad_as_tensorflow(model)
    elif padding != 'symmetric':
        raise ValueError(f'padding is {padding!r}; it is symmetric or same')
    return model


# Weights and batches by counting.

def splitmix64(x):
    x = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def words(seed, tensor_index, count):
    return splitmix64(np.arange(count, dtype=np.uint64) + np.uint64(seed + (tensor_index << 32)))


def initial_weights(model, seed):
    """name -> float32 array for every parameter of the model, in its order."""
    weights = {}
    for index, (name, parameter) in enumerate(model.named_parameters()):
        u = (words(seed, index, parameter.numel()) >> np.uint64(40)).astype(np.float64) * 2.0**-24
        shape = tuple(parameter.shape)
        if len(shape) == 4:
            values = (2 * u - 1) * np.sqrt(6 / (shape[1] * shape[2] * shape[3]))
        elif len(shape) == 2:
            values = (2 * u - 1) / np.sqrt(shape[1])
        elif name.endswith('.weight'):
            values = 0.5 + u
        else:
            values = (2 * u - 1) * 0.1
        weights[name] = values.astype(np.float32).reshape(shape)
    return weights


def load_initial_weights(model, seed):
    with torch.no_grad():
        for name, values in initial_weights(model, seed).items():
            model.get_parameter(name).copy_(torch.from_numpy(values))


def batch(seed, number, size, height, width, classes):
    """(images (N, H, W, 3) uint8, labels (N) int64) of one batch."""
    index = IMAGES_INDEX + 2 * number
    images = (words(seed, index, size * height * width * 3) >> np.uint64(56)).astype(np.uint8)
    labels = (words(seed, index + 1, size) % np.uint64(classes)).astype(np.int64)
    return images.reshape(size, height, width, 3), labels


def learnable_samples(seed, count, height, width, classes, noise=40):
    """(images (count, H, W, 3) uint8, labels (count) int64) that a network can learn: a smooth pattern for each class,
    which does not depend on the seed, each time with another smooth pattern over it and noise."""
    own, common = np.random.default_rng(seed), np.random.default_rng(0)
    labels = np.arange(count) % classes
    coarse = common.normal(size=(classes, 3, 5, 5))[labels] + own.normal(size=(count, 3, 5, 5))
    smooth = F.interpolate(torch.from_numpy(coarse), size=(height, width), mode='bicubic').numpy()
    images = 118 + 40 * smooth + noise * own.normal(size=smooth.shape)
    return images.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy(), labels.astype(np.int64)


def normalise(images):
    """(N, 3, H, W) float32: (x - mean) * scale, every operation rounded to float32."""
    x = (images.astype(np.float32) - np.asarray(MEANS, np.float32)) * np.float32(SCALE)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
