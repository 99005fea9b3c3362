"""PyTorch's convolution passes on the CPU, as a contestant of `cargo xtask peers`.

Speaks the protocol that src/lib.rs describes. In training, autograd computes the gradients of a convolution by
`aten::convolution_backward`, with a mask of those that are asked for; the same call is made here for the weights or the
input alone. Operands with channels last are tensors of the memory format `channels_last`, as PyTorch knows it by their
strides, and so are the weights.
"""

import json
import os
import sys
import time

import numpy
import torch

SAMPLE_SECONDS = 50e-6
WARM_UP_SECONDS = 0.01


class Refused(Exception):
    """What PyTorch has no call for."""


class Convolution:
    def __init__(self, directory):
        with open(os.path.join(directory, "problem.json"), encoding="utf-8") as file:
            problem = json.load(file)
        self.directory = directory
        self.channels_last = problem["layout"] == "nhwc"
        axes = problem["axes"]
        for axis in axes:
            span = axis["input"] + 2 * axis["padding"] - (axis["kernel"] - 1) * axis["dilation"] - 1
            if axis["output"] != 1 and span // axis["stride"] + 1 != axis["output"]:
                raise Refused("takes the same padding before and after the input only")
        batch, groups = problem["batch"], problem["groups"]
        sizes = {name: [axis[name] for axis in axes] for name in axes[0]}
        self.input = self.operand("input.f32", [batch, problem["in_channels"], *sizes["input"]])
        self.delta = self.operand("delta.f32", [batch, problem["out_channels"], *sizes["output"]])
        weights = [problem["out_channels"], problem["in_channels"] // groups, *sizes["kernel"]]
        self.weights = self.operand("weights.f32", weights, channels_last=False)
        if self.channels_last and len(axes) == 2:
            self.weights = self.weights.contiguous(memory_format=torch.channels_last)
        self.run = {"wgrad": self.wgrad, "forward": self.forward, "dgrad": self.dgrad}[problem["pass"]]
        self.arguments = [ sizes["stride"], sizes["padding"], sizes["dilation"], False, [0] * len(axes), groups]

    def operand(self, name, dims, channels_last=None):
        """A tensor that names its dimensions [batch, channels, spatial..], whatever its order in memory."""
        numbers = numpy.fromfile(os.path.join(self.directory, name), dtype="<f4")
        if not (self.channels_last if channels_last is None else channels_last):
            return torch.from_numpy(numbers.reshape(dims))
        stored = torch.from_numpy(numbers.reshape([dims[0], *dims[2:], dims[1]]))
        return stored.permute(0, len(dims) - 1, *range(1, len(dims) - 1))

    def backward(self, mask):
        return torch.ops.aten.convolution_backward(
            self.delta, self.input, self.weights, None, *self.arguments, mask)

    def wgrad(self):
        self.result = self.backward([False, True, False])[1]

    def dgrad(self):
        self.result = self.backward([True, False, False])[0]

    def forward(self):
        self.result = torch.ops.aten.convolution(self.input, self.weights, None, *self.arguments)

    def write_result(self):
        numbers = self.result.contiguous(memory_format=torch.contiguous_format).numpy()
        numbers.astype("<f4").tofile(os.path.join(self.directory, "result.f32"))


def batch_seconds(call, batch):
    begin = time.perf_counter()
    for _ in range(batch):
        call()
    return time.perf_counter() - begin


def samples(call, seconds):
    """Seconds of one call, sample by sample; the steps are those of src/sampling.rs."""
    batch, begin = 1, time.perf_counter()
    while True:
        elapsed = batch_seconds(call, batch)
        long_enough = elapsed >= SAMPLE_SECONDS
        if long_enough and time.perf_counter() - begin >= WARM_UP_SECONDS:
            break
        if not long_enough:
            batch = int(batch * min(max(1.2 * SAMPLE_SECONDS / max(elapsed, 1e-9), 2.0), 100.0)) + 1
    taken, begin = [], time.perf_counter()
    while not taken or time.perf_counter() - begin < seconds:
        taken.append(batch_seconds(call, batch) / batch)
    return taken


def respond(request, loaded):
    word, _, argument = request.partition(" ")
    if word == "load":
        loaded.clear()
        loaded.append(Convolution(argument))
        return "ready"
    if not loaded:
        return "failed no problem is loaded"
    if word == "compute":
        loaded[0].run()
        loaded[0].write_result()
        return "written"
    if word == "time":
        return " ".join(["timed", *map(repr, samples(loaded[0].run, float(argument)))])
    return f"failed no request is called `{word}`"


def main():
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(f"peer torch {torch.__version__}", flush=True)
    loaded = []
    with torch.no_grad():
        for request in sys.stdin:
            request = request.rstrip("\n")
            if request == "quit":
                break
            try:
                answer = respond(request, loaded)
            except Refused as refusal:
                answer = f"refused {refusal}"
            except Exception as error:
                answer = f"failed {type(error).__name__}: {error}"
            print(" ".join(answer.split()), flush=True)


main()
