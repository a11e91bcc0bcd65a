"""The same model as a PyTorch user would write it, to measure against; prints one JSON line.

    python torch_lm.py train  --cell lstm --layers 2 --hidden 512 --batch 50 --seq-len 50 --seconds 3
    python torch_lm.py train --autocast ...    products in bfloat16, by torch.autocast
    python torch_lm.py sample --cell lstm --layers 2 --hidden 128 --batch 1 --loop cells --seconds 3

Needs: pip install torch==2.13.0
"""

import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

STACKS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CELLS = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
WARM_UP = 3


class Model(nn.Module):
    """Embedding, stacked recurrent layers over a whole chunk, linear output."""

    def __init__(self, args):
        super().__init__()
        self.embedding = nn.Embedding(args.symbols, args.embed)
        self.stack = STACKS[args.cell](args.embed, args.hidden, args.layers)
        self.output = nn.Linear(args.hidden, args.symbols)

    def forward(self, symbols, state):
        hidden, state = self.stack(self.embedding(symbols), state)
        return self.output(hidden), state


def autocast(args):
    """Products in bfloat16 inside the block, if asked for."""
    return torch.autocast("cpu", torch.bfloat16, enabled=args.autocast)


def measure(work, seconds):
    """Median time of a piece of work, after a warm-up."""
    for _ in range(WARM_UP):
        work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def train(args):
    """Characters a second of truncated BPTT with carried state, clipping by global norm, and fused Adam."""
    model = Model(args)
    adam = torch.optim.Adam(model.parameters(), lr=0.003, fused=True)
    symbols = torch.randint(args.symbols, (args.seq_len + 1, args.batch))
    state = None

    def step():
        nonlocal state
        with autocast(args):
            logits, state = model(symbols[:-1], state)
        state = tuple(s.detach() for s in state) if args.cell == "lstm" else state.detach()
        loss = cross_entropy(logits.float().flatten(0, 1), symbols[1:].flatten())
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()

    if args.steps:
        for _ in range(args.steps):
            step()
        return 0.0
    return args.batch * args.seq_len / measure(step, args.seconds)


@torch.inference_mode()
def sample(args):
    """Characters a second of sampling, with the module for one time step or with a loop over cells."""
    model = Model(args).eval()
    symbols, state = torch.zeros(args.batch, dtype=torch.long), None
    widths = [args.embed] + [args.hidden] * (args.layers - 1)
    cells = [CELLS[args.cell](width, args.hidden) for width in widths]
    zero = torch.zeros(args.batch, args.hidden)
    states = [(zero, zero) if args.cell == "lstm" else zero for _ in cells]

    def module_step():
        nonlocal symbols, state
        with autocast(args):
            logits, state = model(symbols[None], state)
        symbols = torch.multinomial(torch.softmax(logits[0].float(), -1), 1)[:, 0]

    def cells_step():
        nonlocal symbols
        with autocast(args):
            hidden = model.embedding(symbols)
            for index, cell in enumerate(cells):
                states[index] = cell(hidden, states[index])
                hidden = states[index][0] if args.cell == "lstm" else states[index]
            logits = model.output(hidden)
        symbols = torch.multinomial(torch.softmax(logits.float(), -1), 1)[:, 0]

    one = module_step if args.loop == "module" else cells_step
    return 10 * args.batch / measure(lambda: [one() for _ in range(10)], args.seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["train", "sample"])
    parser.add_argument("--cell", choices=list(STACKS), default="lstm")
    parser.add_argument("--loop", choices=["module", "cells"], default="module")
    parser.add_argument("--autocast", action="store_true")
    sizes = {
        "layers": 2,
        "hidden": 128,
        "embed": 64,
        "symbols": 65,
        "batch": 50,
        "seq-len": 50,
        "threads": 2,
        "steps": 0,
    }
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    speed = train(arguments) if arguments.mode == "train" else sample(arguments)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"torch": torch.__version__, "chars_per_second": speed, "peak_mb": memory}))
