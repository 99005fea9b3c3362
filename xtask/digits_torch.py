"""The network of the example `digits` in PyTorch, for `cargo xtask digits`: how long an epoch takes, and what its gradients are.

The same layers, the same random numbers and so the same beginning, the same steps. Words of the command line:

    times THREADS EPOCHS      trains, and prints a line for each epoch: number, error, accuracy in percent, milliseconds
    gradients                 prints, as JSON, the gradients of the untrained networks in double precision
"""

import csv
import gzip
import json
import math
import os
import sys
import time

import numpy
import torch
from torch.nn import functional

SIDE, CLASSES, BRIGHTEST, HELD_OUT, BATCH = 8, 10, 16, 4, 32
LEARNING_RATES, MOMENTUM, SEED = (0.1, 0.001), 0.9, 1
ACTIVATIONS = {"relu": functional.relu, "sigmoid": torch.sigmoid}
# (channels in, channels out, side of the input, side of the kernel)
LAYERS = [(1, 16, 8, 3), (16, 32, 4, 3), (32, 10, 2, 2)]


class Random:
    """Sebastiano Vigna's splitmix64, with the example's way of drawing from it."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def uniform(self):
        return numpy.float32(self.next() >> 40) / numpy.float32(1 << 23) - numpy.float32(1)

    def shuffled(self, length):
        order = list(range(length))
        for last in range(1, length)[::-1]:
            other = self.next() % (last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def digits(random):
    """Pictures and labels to learn from, and those held out."""
    path = os.path.join(os.path.dirname(__file__), "..", "examples", "digits", "digits.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = numpy.array([[int(number) for number in row] for row in csv.reader(file)])
    order = random.shuffled(len(rows))
    held_out = len(rows) // HELD_OUT

    def part(indices):
        pictures = rows[indices, :-1].astype(numpy.float32) / numpy.float32(BRIGHTEST)
        return torch.from_numpy(pictures.reshape(-1, 1, SIDE, SIDE)), torch.from_numpy(rows[indices, -1])

    return part(order[held_out:]), part(order[:held_out])


class Network(torch.nn.Module):
    def __init__(self, activation, random):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.layers = torch.nn.ModuleList()
        for channels_in, channels_out, side, kernel in LAYERS:
            padding = 0 if kernel == side else kernel // 2
            layer = torch.nn.Conv2d(channels_in, channels_out, kernel, padding=padding)
            largest = numpy.sqrt(numpy.float32(6) / numpy.float32(channels_in * kernel * kernel))
            numbers = [largest * random.uniform() for _ in range(layer.weight.numel())]
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(numpy.array(numbers).reshape(layer.weight.shape)))
                layer.bias.zero_()
            self.layers.append(layer)

    def forward(self, pictures):
        first, second, dense = self.layers
        pooled = functional.max_pool2d(self.activation(first(pictures)), 2)
        pooled = functional.max_pool2d(self.activation(second(pooled)), 2)
        return dense(pooled).flatten(1)


def times(threads, epochs):
    torch.set_num_threads(threads)
    random = Random(SEED)
    (pictures, labels), (held_out, held_out_labels) = digits(random)
    network = Network("relu", random)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATES[0], momentum=MOMENTUM)
    batches = len(labels) // BATCH
    first, last = LEARNING_RATES
    for epoch in range(epochs):
        begin = time.perf_counter()
        order = torch.tensor(random.shuffled(len(labels)))
        errors = torch.zeros(())
        for step in range(batches):
            done = (epoch * batches + step) / (epochs * batches)
            for group in optimizer.param_groups:
                group["lr"] = last + 0.5 * (first - last) * (1 + math.cos(math.pi * done))
            chosen = order[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            error = functional.cross_entropy(network(pictures[chosen]), labels[chosen])
            error.backward()
            optimizer.step()
            errors += error.detach()
        elapsed = time.perf_counter() - begin
        with torch.no_grad():
            right = (network(held_out).argmax(1) == held_out_labels).float().mean().item()
        print(epoch + 1, f"{errors.item() / batches:.4f} {100 * right:.2f} {1e3 * elapsed:.3f}", flush=True)


def summary(gradient):
    """What a test needs to know of a gradient: its length, two sums over all of it, and some of its entries."""
    numbers = gradient.double().flatten().numpy()
    step = max(1, len(numbers) // 32)
    signs = numpy.where(numpy.arange(len(numbers)) * 7 % 11 < 5, 1.0, -1.0)
    return {
        "len": len(numbers),
        "norm": float(numpy.sqrt((numbers**2).sum())),
        "signed_sum": float((signs * numbers).sum()),
        "step": step,
        "entries": [float(number) for number in numbers[::step]],
    }


def gradients():
    result = {"torch": torch.__version__, "pictures": BATCH, "networks": {}}
    for activation in ACTIVATIONS:
        random = Random(SEED)
        (pictures, labels), _ = digits(random)
        network = Network(activation, random).double()
        error = functional.cross_entropy(network(pictures[:BATCH].double()), labels[:BATCH])
        error.backward()
        layers = [{"weights": summary(layer.weight.grad), "bias": summary(layer.bias.grad)} for layer in network.layers]
        result["networks"][activation] = {"error": error.item(), "layers": layers}
    print(json.dumps(result, indent=1))


def main():
    match sys.argv[1:]:
        case ["times", threads, epochs]:
            times(int(threads), int(epochs))
        case ["gradients"]:
            gradients()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
