"""Sampling with rules as a PyTorch user would write it, LSTM, to measure against; prints one JSON line.

    python torch_rules.py --hidden 512 --symbols 65 --streams 64 --rule top_p --seconds 2

Needs: pip install torch==2.13.0
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn

CHARACTERS = 64


def top_k(logits):
    kept = logits.topk(10).values[:, -1:]
    return logits.masked_fill(logits < kept, -torch.inf)


def top_p(logits):
    ordered, places = logits.sort(descending=True)
    gone = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1) >= 0.9
    return logits.masked_fill(gone.scatter(1, places, gone), -torch.inf)


def min_p(logits):
    p = logits.softmax(-1)
    return logits.masked_fill(p < 0.05 * p.amax(-1, keepdim=True), -torch.inf)


def typical(logits):
    logs = logits.log_softmax(-1)
    distance = (-logs - (-(logs.exp() * logs).nansum(-1, keepdim=True))).abs()
    _, places = distance.sort()
    p = logs.exp().gather(1, places)
    gone = p.cumsum(-1) - p >= 0.9
    return logits.masked_fill(gone.scatter(1, places, gone), -torch.inf)


def ban(logits):
    return logits.index_fill(1, torch.tensor([1, 2]), -torch.inf)


RULES = {"plain": lambda logits: logits, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical": typical, "ban": ban}


class Model(nn.Module):
    """Embedding, LSTM cells in a loop over layers, linear output."""

    def __init__(self, args):
        super().__init__()
        self.embedding = nn.Embedding(args.symbols, args.embed)
        self.cells = nn.ModuleList(nn.LSTMCell(width, args.hidden) for width in (args.embed, args.hidden))
        self.output = nn.Linear(args.hidden, args.symbols)

    def forward(self, symbols, states):
        below = self.embedding(symbols)
        for k, cell in enumerate(self.cells):
            states[k] = cell(below, states[k])
            below = states[k][0]
        return self.output(below)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--embed", type=int, default=64)
    parser.add_argument("--symbols", type=int, default=65)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--rule", choices=RULES, default="plain")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    model, rule = Model(args).eval(), RULES[args.rule]
    symbols = torch.zeros(args.streams, dtype=torch.long)
    zeros = torch.zeros(args.streams, args.hidden)
    states, times, end = [(zeros, zeros), (zeros, zeros)], [], time.perf_counter() + args.seconds
    while len(times) < 4 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(CHARACTERS):
            symbols = torch.multinomial(rule(model(symbols, states)).softmax(-1), 1)[:, 0]
        times.append(time.perf_counter() - start)
    print(json.dumps({"chars_per_second": CHARACTERS * args.streams / statistics.median(times[1:])}))


if __name__ == "__main__":
    main()
