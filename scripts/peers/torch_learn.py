#!/usr/bin/env python3
"""Measure how well a character model learns a text in PyTorch, as a PyTorch user would write it; print one JSON line.

    python torch_learn.py TEXT --chars 1e6 --cell lstm --hidden 256 --embed 256
    python torch_learn.py TEXT --minutes 10 --cell gru --hidden 512 --dropout 0.2

The model has PyTorch's own initialisation and streams with carried state. It is trained with Adam, a warm-up of 3 % and
a cosine down to 0, and clipping at a norm of 1. The final tenth of the text is held out and read once, with carried
state. `--embed 0` is one-hot input.

Needs: pip install torch==2.13.0
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

STACKS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
HELD_OUT, WARM_UP, CLIP_NORM, PIECE = 0.1, 0.03, 1.0, 512


class Model(nn.Module):
    """Embedding or one-hot input, stacked recurrent layers, linear output."""

    def __init__(self, args, symbols):
        super().__init__()
        self.symbols = symbols
        self.embedding = nn.Embedding(symbols, args.embed) if args.embed else None
        stack = STACKS[args.cell]
        self.stack = stack(args.embed or symbols, args.hidden, args.layers, dropout=args.dropout)
        self.output = nn.Linear(args.hidden, symbols)

    def forward(self, x, state):
        x = one_hot(x, self.symbols).float() if self.embedding is None else self.embedding(x)
        y, state = self.stack(x, state)
        return self.output(y), state


def detached(state):
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def read(path):
    """The text as numbers, and how many symbols there are."""
    text = Path(path).read_bytes().decode("utf-8")
    number = {symbol: k for k, symbol in enumerate(sorted(set(text)))}
    return torch.tensor([number[symbol] for symbol in text]), len(number)


def train(model, text, args):
    """Returns characters read, seconds, and the running training loss in nats."""
    length = (len(text) - 1) // args.batch
    inputs, targets = (
        text[shift : args.batch * length + shift].view(args.batch, length).T.contiguous() for shift in (0, 1)
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)
    start, step, at, state, mean = time.perf_counter(), 0, 0, None, None
    chunk = args.batch * args.seq_len
    while True:
        elapsed = time.perf_counter() - start
        done = elapsed / (60 * args.minutes) if args.minutes else step * chunk / args.chars
        if done >= 1 or (not args.minutes and (step + 1) * chunk > args.chars):
            return step * chunk, time.perf_counter() - start, mean
        rate = args.lr * min(1.0, max(done, 1e-6) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate
        if at + args.seq_len > length:
            at, state = 0, None
        part = slice(at, at + args.seq_len)
        logits, state = model(inputs[part], state)
        state = detached(state)
        loss = cross_entropy(logits.flatten(0, 1), targets[part].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimiser.step()
        mean = loss.item() if mean is None else 0.99 * mean + 0.01 * loss.item()
        step, at = step + 1, at + args.seq_len


@torch.inference_mode()
def evaluate(model, text):
    """Mean loss in nats of all characters but the first, read once from left to right."""
    model.eval()
    state, total, count = None, 0.0, len(text) - 1
    for start in range(0, count, PIECE):
        end = min(start + PIECE, count)
        logits, state = model(text[start:end, None], state)
        total += cross_entropy(logits[:, 0], text[start + 1 : end + 1], reduction="sum").item()
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--cell", default="lstm", choices=STACKS)
    for name, value in (("layers", 2), ("hidden", 256), ("embed", 256), ("batch", 32), ("seq-len", 64), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, value in (("chars", 1e6), ("minutes", 0.0), ("lr", 0.003), ("dropout", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    text, symbols = read(args.text)
    cut = len(text) - math.floor(HELD_OUT * len(text))
    model = Model(args, symbols)
    chars, seconds, mean = train(model, text[:cut], args)
    nats = evaluate(model, text[cut:])
    result = {"chars": chars, "seconds": seconds, "train_nats": mean, "val_nats": nats, "val_bpc": nats / math.log(2)}
    print(json.dumps({"tool": f"torch {torch.__version__}"} | vars(args) | result))


if __name__ == "__main__":
    main()
