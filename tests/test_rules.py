"""Sampling rules: a million symbols for each against an independent statement of the rule, and the corners of each."""

import numpy as np
import pytest
from numba import njit

from charrnn.sampling.rule import PARTS, PROBS, Rule, draw, forbid, penalise

DRAWS = 1_000_000
RECENT = np.array([0, 3, 0, 0, 2, 0, 0, 1])  # how often each of eight symbols was drawn recently


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def first_ones(keys, weights, wanted):
    """The symbols in descending order of their keys, ties by number, until their weights sum to what is wanted."""
    chosen, total = [], 0.0
    for v in sorted(range(len(keys)), key=lambda v: (-keys[v], v)):
        chosen.append(v)
        total += weights[v]
        if total >= wanted:
            break
    return chosen


def left_over(p, chosen):
    q = np.zeros_like(p)
    q[chosen] = p[chosen]
    return q / q.sum()


def distribution(z, rule, counts=None, forbidden=()):
    """What the rule makes of logits, step by step as the papers say, by sorting, in float64."""
    z = np.array(z, float)
    if counts is not None:
        z = np.where(counts > 0, np.where(z > 0, z / rule.repetition_penalty, z * rule.repetition_penalty), z)
    z[list(forbidden)] = -np.inf
    if rule.temperature == 0:
        return np.eye(len(z))[z.argmax()]
    p = softmax(z / rule.temperature)
    possible = np.count_nonzero(p)
    if rule.top_k:
        p = left_over(p, first_ones(p, np.ones(len(p)), min(rule.top_k, possible)))
    if rule.top_p < 1:
        p = left_over(p, first_ones(p, p, rule.top_p))
    if rule.min_p:
        p = left_over(p, p >= rule.min_p * p.max())
    if rule.typical < 1:
        surprisal = -np.log(np.where(p > 0, p, 1))
        entropy = (p * surprisal).sum()
        keys = np.where(p > 0, -np.abs(surprisal - entropy), -np.inf)
        p = left_over(p, first_ones(keys, p, rule.typical))
    return p


@njit
def draw_many(z, rule, counts, follows, uniforms, out):
    for k in range(uniforms.size):
        numbers = np.empty((PARTS, z.size), z.dtype)
        p = numbers[PROBS]
        p[:] = z
        penalise(p, counts, rule.repetition_penalty)
        forbid(p, follows)
        out[k] = draw(numbers, numbers.view(np.int32), rule, uniforms[k])


def drawn(z, rule, uniforms, counts=None, forbidden=()):
    """Symbols for uniform numbers, from float32 logits with the padding that panels have."""
    padded = np.full(-(-len(z) // 32) * 32, -np.inf, np.float32)
    padded[: len(z)] = z
    follows = np.zeros(len(z), np.int32)
    follows[list(forbidden)] = -1
    counts = np.zeros(len(z), np.int32) if counts is None else counts.astype(np.int32)
    out = np.zeros(len(uniforms), np.int64)
    draw_many(padded, rule, counts, follows, np.asarray(uniforms, float), out)
    return out


def fits(counts, p):
    """Whether counts can come from these probabilities: chi-squared within six standard deviations of its mean."""
    possible = p > 0
    if counts[~possible].any():
        return False
    expected = p[possible] * counts.sum()
    freedom = possible.sum() - 1
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    return statistic <= freedom + 6 * np.sqrt(2 * freedom)


RULES = {
    "plain": Rule(),
    "cold": Rule(temperature=0.5),
    "hot": Rule(temperature=2.0),
    "top-k": Rule(top_k=3),
    "top-p": Rule(top_p=0.7),
    "min-p": Rule(min_p=0.15),
    "typical": Rule(typical=0.5),
    "penalty": Rule(repetition_penalty=1.7),
    "all": Rule(0.8, 6, 0.93, 0.04, 0.85, 1.3),
}
LOGITS = np.array([1.2, 0.9, -0.3, 2.1, -1.7, 0.1, 1.9, -0.6])


def test_if_rounding_leaves_the_sum_below_the_number_the_last_possible_symbol_is_drawn():
    assert drawn(LOGITS, Rule(), [1.001], forbidden=(6, 7)) == 5


@pytest.mark.parametrize("name", RULES)
def test_a_million_symbols_follow_the_rule(name):
    rule = RULES[name]
    uniforms = np.random.default_rng(3).random(DRAWS)
    counts = np.bincount(drawn(LOGITS, rule, uniforms, RECENT), minlength=8)
    assert fits(counts, distribution(LOGITS, rule, RECENT))
    assert (name == "plain") == fits(counts, distribution(LOGITS, Rule()))  # else the test could not fail


def test_a_million_symbols_of_a_rule_beside_a_ban():
    uniforms = np.random.default_rng(3).random(DRAWS)
    counts = np.bincount(drawn(LOGITS, RULES["all"], uniforms, RECENT, forbidden=(3, 7)), minlength=8)
    assert fits(counts, distribution(LOGITS, RULES["all"], RECENT, forbidden=(3, 7)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("symbols", [1, 2, 33, 65, 700, 6000])
def test_the_same_symbols_are_possible_as_by_sorting(symbols, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, rng.choice([0.5, 3.0, 30.0]), symbols).astype(np.float32)
    rule = Rule(
        temperature=float(rng.choice([0.3, 1.0, 3.0])),
        top_k=int(rng.choice([0, 1, 5, 100])),
        top_p=float(rng.choice([1.0, 0.9, 0.3])),
        min_p=float(rng.choice([0.0, 0.1])),
        typical=float(rng.choice([1.0, 0.7, 0.2])),
    )
    p = distribution(z, rule)
    edges = np.cumsum(p)
    uniforms = (edges - p / 2)[p > 1e-6]  # the middle of each symbol's share
    assert drawn(z, rule, uniforms).tolist() == np.flatnonzero(p > 1e-6).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draw_inverts_the_cumulative_distribution(temperature):
    z = np.random.default_rng(0).normal(0, 2, 40)
    uniforms = np.random.default_rng(1).random(500)
    edges = np.cumsum(softmax(z / temperature))
    near = np.abs(uniforms[:, None] - edges).min(axis=1) < 1e-6  # rounding may decide these either way
    out = drawn(z, Rule(temperature), uniforms)
    np.testing.assert_array_equal(out[~near], np.searchsorted(edges, uniforms[~near], side="right"))


def test_temperature_zero_is_the_first_of_the_largest():
    assert drawn([0, 3, 1, 3, -1], Rule(0.0), [0.0, 0.5, 0.999]).tolist() == [1, 1, 1]


def test_temperature_zero_knows_penalties_and_bans():
    assert drawn([1.0, 3.0, 2.0, 2.5], Rule(0.0, repetition_penalty=2.0), [0.5], np.array([0, 1, 0, 0]))[0] == 3
    assert drawn([1.0, 3.0, 2.0, 2.5], Rule(0.0), [0.5], forbidden=(1, 3))[0] == 2


def test_a_symbol_of_probability_zero_is_never_drawn():
    z = [-np.inf, 0, -np.inf, 0, -np.inf]
    assert drawn(z, Rule(), [0.0, 0.4, 0.6, 1 - 2**-53]).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("rule", [Rule(top_k=2), Rule(top_p=0.4), Rule(typical=0.4)])
def test_of_equal_symbols_those_with_lower_numbers_stay(rule):
    assert set(drawn([1.0] * 5, rule, np.linspace(0, 0.999, 50)).tolist()) == {0, 1}


@pytest.mark.parametrize(
    "rule", [Rule(top_k=1), Rule(top_p=1e-9), Rule(min_p=1.0), Rule(1e-3, 1, 1e-9, 1.0, 1e-9)], ids=str
)
def test_the_likeliest_symbol_always_stays(rule):
    assert set(drawn([0.0, 40.0, -1e30, 3.0], rule, [0.0, 0.5, 0.9999]).tolist()) == {1}


@pytest.mark.parametrize("name", RULES)
def test_logits_that_are_far_apart_and_a_vocabulary_of_one(name):
    assert drawn([-1e38, 1e38, 0.0], RULES[name], [0.0, 0.5, 0.9999]).tolist() == [1, 1, 1]
    assert drawn([-5.0], RULES[name], [0.0, 0.9999]).tolist() == [0, 0]


def test_nothing_is_drawn_where_all_is_forbidden():
    assert drawn([1.0, 2.0], Rule(), [0.5], forbidden=(0, 1)).tolist() == [-1]
