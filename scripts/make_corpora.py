#!/usr/bin/env python3
# ruff: noqa: E501  (a grammar reads best with one alternative to a line)
"""Write the texts of corpora/ again, byte for byte, with the entropy of each.

    python scripts/make_corpora.py [FOLDER]

Each text is drawn from a source whose probabilities are in this file, so its entropy in nats per
character is known exactly. No model can have a lower loss on average, and a good model comes close to it.
"""

import json
import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 20240229
NATS_PER_BIT = math.log(2)


# ---- a grammar: terminals are strings, lists are sequences --------------------------------------


@dataclass(frozen=True)
class Choice:
    """One of several alternatives, each with its probability."""

    options: tuple
    probabilities: tuple


@dataclass(frozen=True)
class Recalled:
    """What was chosen for a name at the start of the story; certain, so it carries no information."""

    name: str


@dataclass(frozen=True)
class Rule:
    """A rule of the grammar by its name, which lets rules be recursive."""

    name: str


def choice(*options):
    """Equally likely alternatives."""
    return Choice(options, (1 / len(options),) * len(options))


def words(text):
    """Equally likely words."""
    return choice(*text.split())


def maybe(probability, node):
    """The node with this probability, else nothing."""
    return Choice((node, ""), (probability, 1 - probability))


WOMEN, MEN = "Anna Clara Edith Greta Iris Lena Mina Olga", "Bruno Dorian Felix Hugo Jonas Kuno Nils Peter"
ANIMALS = words("fox bear hare mouse goose crow wolf frog owl cat dog hen pig toad swan mole")
QUALITIES = words("small big brave clever lazy merry proud gentle quick quiet wild shy tall young kind vain")
LOOKS = words("golden silver wooden little black magic broken heavy round shiny dusty green rusty soft narrow tiny")
THINGS = words("key ring crown lamp bell stone coat spoon boat drum kettle mirror basket ladder feather candle")
PLACES = words(
    "river garden tower cellar barn forest castle village valley mill market harbour meadow cave bridge well"
)
DEEDS = words("took hid saw carried broke sold wanted lifted")
PEOPLE = words("king queen miller witch baker smith tailor hunter monk nurse shepherd sailor judge thief painter cook")

GRAMMAR = {
    "story": ["A ", QUALITIES, " ", ANIMALS, " named ", Recalled("hero"), " lived in ", Recalled("her"), " ", PLACES, ".",
              Rule("more"), " So ", Recalled("she"), " went home to ", Recalled("her"), " bed.\n"],
    "more": maybe(0.75, [Rule("sentence"), Rule("more")]),
    "sentence": Choice(
        ([" Then ", Rule("act"), "."],
         [" One ", words("morning evening winter summer night"), " ", Rule("act"), "."],
         [" \"", Rule("speech"), "\" said ", choice(["the ", PEOPLE], [Recalled("she"), " to ", Recalled("her"), " friend"]), "."],
         [" But ", Recalled("her"), " ", Rule("thing"), " was ", words("gone lost hidden cold stolen found empty cursed"), "."]),
        (0.3, 0.25, 0.25, 0.2)),
    "act": choice(
        ["the ", PEOPLE, " ", DEEDS, " the ", Rule("thing")],
        [Recalled("she"), " ", choice(
            [DEEDS, " ", Recalled("her"), " ", Rule("thing")],
            ["walked to ", Recalled("her"), " ", PLACES],
            [words("slept danced wept laughed waited sang"), maybe(0.4, [" for ", words("two three seven nine"), " days"])])]),
    "thing": [LOOKS, " ", THINGS, maybe(0.15, [" near the ", Rule("thing")])],
    "speech": choice("Come with me,", "Who is there?", ["Where is the ", Rule("thing"), "?"], "I am hungry,",
                     ["Give me the ", Rule("thing"), ","], ["I have seen the ", PEOPLE, ","]),
}  # fmt: skip
HERO = words(f"{WOMEN} {MEN}")


def draw(node, names, random_numbers):
    """Text of a node, and the information in nats of the choices made."""
    if isinstance(node, str):
        return node, 0.0
    if isinstance(node, Recalled):
        return names[node.name], 0.0
    if isinstance(node, Rule):
        return draw(GRAMMAR[node.name], names, random_numbers)
    if isinstance(node, Choice):
        (k,) = random_numbers.choices(range(len(node.options)), node.probabilities)
        text, nats = draw(node.options[k], names, random_numbers)
        return text, nats - math.log(node.probabilities[k])
    parts = [draw(part, names, random_numbers) for part in node]
    return "".join(text for text, _ in parts), sum(nats for _, nats in parts)


def moments(node, rules, name_lengths):
    """Expected information (nats) and length (characters) of a node, given those of the rules."""
    if isinstance(node, str):
        return np.array([0.0, len(node)])
    if isinstance(node, Recalled):
        return np.array([0.0, name_lengths[node.name]])
    if isinstance(node, Rule):
        return rules[node.name]
    if isinstance(node, Choice):
        return sum(
            p * (moments(option, rules, name_lengths) + np.array([-math.log(p), 0.0]))
            for option, p in zip(node.options, node.probabilities, strict=True)
        )
    return sum(moments(part, rules, name_lengths) for part in node)


def tales_entropy():
    """Entropy of the tales in nats per character: that of a story over its expected length.

    The grammar is unambiguous, so a text has the information of the choices that made it. The hero is chosen
    independently of everything else, so each mention adds its expected length. The expectations of recursive
    rules are the fixed point of their equations.
    """
    hero = moments(HERO, {}, {})
    name_lengths = {"hero": hero[1], "she": (len("she") + len("he")) / 2, "her": len("her")}
    rules = {name: np.zeros(2) for name in GRAMMAR}
    for _ in range(1000):
        rules = {name: moments(node, rules, name_lengths) for name, node in GRAMMAR.items()}
    nats, length = rules["story"]
    return (nats + hero[0]) / length


def tales(size):
    """At least `size` characters of stories, and their information in nats."""
    random_numbers = random.Random(SEED)
    stories, length, information = [], 0, 0.0
    while length < size:
        hero, hero_nats = draw(HERO, {}, random_numbers)
        names = dict(zip(("she", "her"), ("she", "her") if hero in WOMEN.split() else ("he", "his"), strict=True))
        names["hero"] = hero
        text, nats = draw(Rule("story"), names, random_numbers)
        stories.append(text)
        length += len(text)
        information += nats + hero_nats
    return "".join(stories), information


# ---- nested brackets ----------------------------------------------------------------------------

OPEN, CLOSE = "([{<", ")]}>"
DEEPEST = 8
P_OPEN, P_END = 0.45, 0.5  # of opening another bracket inside one; of ending the line outside all


def brackets(size):
    """At least `size` characters: lines of balanced brackets, nested up to DEEPEST."""
    random_numbers = random.Random(SEED)
    text, stack = [], []
    while len(text) < size or stack or text[-1] != "\n":
        if stack and (len(stack) == DEEPEST or random_numbers.random() >= P_OPEN):
            text.append(CLOSE[stack.pop()])
        elif not stack and text and text[-1] != "\n" and random_numbers.random() < P_END:
            text.append("\n")
        else:
            stack.append(random_numbers.randrange(4))
            text.append(OPEN[stack[-1]])
    return "".join(text)


def brackets_entropy():
    """Entropy of the brackets in nats per character, from the stationary distribution of the depth.

    States: start of a line, depth 0 after a bracket, depths 1 to DEEPEST.
    """
    n = DEEPEST + 2
    step, nats = np.zeros((n, n)), np.zeros(n)
    step[0, 2], nats[0] = 1, math.log(4)
    step[1, 0], step[1, 2] = P_END, 1 - P_END
    nats[1] = _two_way(P_END) + (1 - P_END) * math.log(4)
    for depth in range(1, DEEPEST + 1):
        state, above = depth + 1, depth + 2
        if depth == DEEPEST:
            step[state, state - 1] = 1
            continue
        step[state, above], step[state, state - 1] = P_OPEN, 1 - P_OPEN
        nats[state] = _two_way(P_OPEN) + P_OPEN * math.log(4)
    equations = np.vstack([step.T - np.eye(n), np.ones(n)])
    share = np.linalg.lstsq(equations, np.append(np.zeros(n), 1), rcond=None)[0]
    return float(share @ nats)


def _two_way(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


# ---- recall -------------------------------------------------------------------------------------

KEYS = "ABCDEFGHIJKLMNOP"
FILLER = " then a long road, "
DISTANCE = len(FILLER) + 1  # from the key to where it must be known again


def recall(lines):
    """Lines that begin with a random key and end with the same key, a fixed passage apart."""
    random_numbers = random.Random(SEED)
    keys = [random_numbers.choice(KEYS) for _ in range(lines)]
    return "".join(f"{key}{FILLER}{key}\n" for key in keys)


def recall_entropy():
    """Entropy in nats per character: the first key of a line is all that is not certain."""
    return math.log(len(KEYS)) / (len(FILLER) + 3)


def main(folder):
    """Write the texts and their entropies."""
    story_text, information = tales(1_000_000)
    texts = {"tales": story_text, "brackets": brackets(600_000), "recall": recall(12_000)}
    entropies = {"tales": tales_entropy(), "brackets": brackets_entropy(), "recall": recall_entropy()}
    described = {}
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode("ascii"))
        described[name] = {
            "characters": len(text),
            "entropy_nats": round(entropies[name], 6),
            "entropy_bits": round(entropies[name] / NATS_PER_BIT, 6),
        }
    described["tales"]["information_of_this_text_nats"] = round(information / len(story_text), 6)
    described["recall"]["distance"] = DISTANCE
    described["recall"]["nats_without_memory"] = round(2 * recall_entropy(), 6)
    (folder / "entropy.json").write_text(json.dumps(described, indent=2) + "\n")
    print(json.dumps(described, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "corpora")
