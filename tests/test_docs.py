"""The commands that README and docs/ show are run, and the options that they name exist."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_cli import charrnn
from thorough import thorough

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMPILE_MORE = (
    "--peepholes",
    "--layer-norm",
    "--reset before",
    "--bptt",
    "relu",
    "muon",
    "--random-lengths",
    "--precision",
    "charrnn bench",
    "gradcheck run",
    "gradcheck --dropout",
)
SHORTER = {"--minutes": "0.02", "--length": "50"}  # the commands are as shown, but end soon


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_code_begin_and_end_on_lines_of_their_own(page):
    fences = [line for line in page.read_text().splitlines() if "```" in line]
    assert all(re.fullmatch(r" *```(sh|python)?", line) for line in fences), fences
    assert all(line.endswith("`") for line in fences[1::2])
    assert len(fences) % 2 == 0


def commands(page):
    """The charrnn commands in the shell blocks of a page."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if "charrnn " in line]


def shortened(command):
    """The words of a command, and the shell line that pipes something into it."""
    before, _, line = command.rpartition("| ")
    words = shlex.split(line)
    for option, value in SHORTER.items():
        if option in words:
            words[words.index(option) + 1] = value
    if "--resume" in words and "--minutes" in words:
        words[words.index("--minutes") + 1] = "0.1"
    if words[1] == "train" and "--minutes" not in words and "--steps" not in words:
        words += ["--minutes", "0.02"]
    return words, before


def run(command, folder):
    """Run it as it is shown, but shorter."""
    words, before = shortened(command)
    if not before:
        return charrnn(*words[1:], cwd=folder)
    ours = shlex.join([sys.executable, "-m", "charrnn"])
    line = f"{before}| {shlex.join(words)}".replace("charrnn ", f"{ours} ")
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False)


def test_every_command_of_the_readme_works(tmp_path):
    works(PAGES[0], tmp_path)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_commands_shown_in_docs_work(page, tmp_path):
    """All but those that compile a model which no other one shares: these are for the thorough suite."""
    works(page, tmp_path, lambda command: not any(option in command for option in COMPILE_MORE))


@thorough
@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_every_command_shown_in_docs_works(page, tmp_path):
    works(page, tmp_path)


def works(page, tmp_path, wanted=lambda command: True):
    """Run the commands of a page, in order, in one folder that holds the corpora and the files that the page shows."""
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    programs = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)
    files = {found[1]: program for program in programs if (found := re.match(r"# (\w+\.py)\n", program))}
    for name, program in files.items():
        (tmp_path / name).write_text(program)
    for command in filter(wanted, commands(page)):
        done = run(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "is finished already" not in done.stderr
    for program in programs:
        line = [sys.executable, "-c", program]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("skips", ["--input-skips --output-skips", "--no-input-skips --no-output-skips"])
def test_the_program_of_the_recipes_computes_what_the_model_computes(tmp_path, skips):
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    page = ROOT / "docs" / "recipes.md"
    prepare, train = [line for line in commands(page) if re.search("charrnn (prepare|train) .*brackets", line)]
    for command in (prepare, f"{train} --hidden 16 {skips}"):
        done = run(command, tmp_path)
        assert done.returncode == 0, done.stderr
    program = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)[-1]
    program += "print(json.dumps(dict(zip(symbols, probabilities.tolist()))))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    probabilities = json.loads(done.stdout.splitlines()[-1])
    likely = max(probabilities, key=probabilities.get)
    (tmp_path / "text").write_text("([{" + likely)
    score = charrnn("score", "brackets-run", "text", "--whole", "--chars", "--json", cwd=tmp_path)
    assert score.returncode == 0, score.stderr
    assert 2 ** -json.loads(score.stdout)["surprisal"][-1] == pytest.approx(probabilities[likely], rel=1e-3)
    assert sum(probabilities.values()) == pytest.approx(1)


def test_the_readme_shows_commands():
    assert len(commands(PAGES[0])) >= 4


def headings(page):
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """To a file, and to a heading of it."""
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text())
    for name, anchor in links:
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in headings(target), anchor


def test_the_table_of_settings_is_what_the_program_has():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "settings_table.py"], capture_output=True, text=True, check=True
    )
    shown = (ROOT / "docs" / "reference.md").read_text().split("## All settings")[1]
    assert shown[shown.index("| setting") :].strip() == done.stdout.strip()
