"""The shipped texts: remade byte for byte, and worth the entropy written beside them."""

import json
import math
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import make_corpora  # noqa: E402

TEXTS = {name: (ROOT / "corpora" / f"{name}.txt").read_text() for name in ("tales", "brackets", "recall")}
ENTROPY = json.loads((ROOT / "corpora" / "entropy.json").read_text())


def test_the_script_remakes_each_file_byte_for_byte(tmp_path):
    make_corpora.main(tmp_path)
    names = ["tales.txt", "brackets.txt", "recall.txt", "entropy.json"]
    assert [n for n in names if (tmp_path / n).read_bytes() != (ROOT / "corpora" / n).read_bytes()] == []


def parses(node, text, at, names):
    """All ways to read `node` from text[at:]: a list of (end, probability, names)."""
    if isinstance(node, str):
        return [(at + len(node), 1.0, names)] if text.startswith(node, at) else []
    if isinstance(node, make_corpora.Recalled):
        return parses(names[node.name], text, at, names)
    if isinstance(node, make_corpora.Rule):
        return parses(make_corpora.GRAMMAR[node.name], text, at, names)
    if isinstance(node, make_corpora.Choice):
        found = []
        for option, p in zip(node.options, node.probabilities, strict=True):
            found += [(end, p * q, n) for end, q, n in parses(option, text, at, names)]
        return found
    found = [(at, 1.0, names)]
    for part in node:
        found = [(e, p * q, n) for end, p, before in found for e, q, n in parses(part, text, end, before)]
    return found


def story_parses(text):
    """All ways to read a story: its hero and the choices of the grammar."""
    found = []
    for hero in make_corpora.HERO.options:
        women = make_corpora.WOMEN.split()
        names = {"hero": hero, "she": "she" if hero in women else "he", "her": "her" if hero in women else "his"}
        whole = parses(make_corpora.Rule("story"), text, 0, names)
        found += [p / len(make_corpora.HERO.options) for end, p, _ in whole if end == len(text)]
    return found


def test_tales_are_unambiguous_and_hold_the_information_written_beside_them():
    stories = TEXTS["tales"].splitlines(keepends=True)[:400]
    ways = [story_parses(story) for story in stories]
    assert {len(way) for way in ways} == {1}
    nats = -sum(math.log(way[0]) for way in ways) / sum(map(len, stories))
    assert nats == pytest.approx(ENTROPY["tales"]["entropy_nats"], rel=0.03)  # 400 stories of the source


def test_the_whole_of_tales_is_typical_of_its_entropy():
    shares = ENTROPY["tales"]
    assert shares["information_of_this_text_nats"] == pytest.approx(shares["entropy_nats"], rel=0.005)


def test_brackets_balance_and_their_entropy_is_that_of_their_depth():
    """Counting what follows each state gives the conditional entropy again, up to chance."""
    stack, follows = [], defaultdict(Counter)
    previous = "\n"
    for symbol in TEXTS["brackets"]:
        state = (previous == "\n", tuple(stack[-1:]), len(stack))
        follows[state][symbol] += 1
        if symbol in make_corpora.OPEN:
            stack.append(symbol)
        elif symbol != "\n":
            assert make_corpora.OPEN.index(stack.pop()) == make_corpora.CLOSE.index(symbol)
        else:
            assert not stack
        previous = symbol
    total = sum(c.total() for c in follows.values())
    nats = sum(-n * math.log(n / c.total()) for c in follows.values() for n in c.values()) / total
    assert nats == pytest.approx(ENTROPY["brackets"]["entropy_nats"], rel=0.005)


def test_recall_ends_each_line_with_its_key_at_the_stated_distance():
    lines = TEXTS["recall"].splitlines()
    assert {(line[0] == line[-1], len(line) - 1) for line in lines} == {(True, ENTROPY["recall"]["distance"])}
    assert len({line[1:-1] for line in lines}) == 1
    counts = Counter(line[0] for line in lines)
    expected = len(lines) / 16
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 45  # chi-square, 15 degrees of freedom
    nats = math.log(16) / (len(lines[0]) + 1)
    assert ENTROPY["recall"]["entropy_nats"] == pytest.approx(nats, abs=1e-6)


@pytest.mark.parametrize("name", TEXTS)
def test_the_table_in_the_readme_holds_the_figures(name):
    table = (ROOT / "corpora" / "README.md").read_text()
    figures = ENTROPY[name]
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}.txt`"))
    assert f"{len(TEXTS[name]):,} | {figures['entropy_nats']:.6f} ({figures['entropy_bits']:.6f})" in row
