"""The report of a text as `prepare` and `info` show it."""

from __future__ import annotations

from typing import Any

LINE = "  {:<11} {}"
SHOWN = 3  # names of files


def describe(meta: dict[str, Any]) -> list[str]:
    """The report of a text as lines of text."""
    report, total = meta["report"], meta["characters"]
    unit = "characters" if meta["level"] == "char" else "bytes"
    splits = ", ".join(f"{name} {count:,}" for name, count in meta["splits"].items() if count)
    lines = [f"{total:,} {unit}, {meta['symbols']:,} symbols: {splits}", _files(meta), *_copies(meta), *_repairs(meta)]
    name = _shown if meta["level"] == "char" else "0x{:02X}".format
    lines.append(LINE.format("commonest", "  ".join(f"{name(c)} {n / total:.1%}" for c, n in report["commonest"])))
    if report["rarest"]:
        lines.append(LINE.format("rarest", "  ".join(f"{name(c)} {n:,}" for c, n in report["rarest"])))
    if any(report["scripts"].values()):
        lines.append(LINE.format("letters", _letters(report["scripts"])))
    return [*lines, *_to_beat(report.get("to_beat")), *_advice(meta)]


def _files(meta: dict[str, Any]) -> str:
    """How many files were read, and which were not."""
    read, skipped = len(meta["inputs"]), [source["name"] for source in meta.get("skipped", [])]
    named = ", ".join(skipped[:SHOWN]) + (f" and {len(skipped) - SHOWN:,} more" if len(skipped) > SHOWN else "")
    without = f", {len(skipped):,} that cannot be decoded skipped: {named}" if skipped else ""
    return LINE.format("files", f"{read:,} read{without}")


def _copies(meta: dict[str, Any]) -> list[str]:
    """What is read twice: inputs with the same content."""
    first: dict[str, dict[str, Any]] = {}
    pairs = [(first.setdefault(source["sha256"], source), source) for source in meta["inputs"] if source["bytes"]]
    pairs = [(one, other) for one, other in pairs if other is not one]
    known = [(one, other) for one, other in pairs if other["split"] != one["split"]]
    lines = []
    if pairs:
        example = f"{pairs[0][1]['name']} that of {pairs[0][0]['name']}"
        lines.append(LINE.format("copies", f"{len(pairs):,} of these files have the text of another one, as {example}"))
    if known:
        one, other = known[0]
        where = f"{other['name']} is in {one['split']} and in {other['split']}"
        lines.append(LINE.format("held out?", f"{where}; a model is tested only by what it has not read"))
    return lines


def _letters(scripts: dict[str, int]) -> str:
    """The share of each script, or the number of its letters if the share would be shown as zero."""
    letters = sum(scripts.values())
    shares = {script: f"{count / letters:.1%}" for script, count in scripts.items()}
    return ", ".join(
        f"{name} {share if share != '0.0%' else format(scripts[name], ',')}" for name, share in shares.items()
    )


def _to_beat(figures: dict[str, Any] | None) -> list[str]:
    """What simple models reach on held-out text; DATA folders of older versions do not hold these figures."""
    if figures is None:
        older = "not measured by the older charrnn that made this folder; charrnn prepare --force measures it"
        return [LINE.format("to beat", older)]
    named = [(f"order {order}", bits) for order, bits in enumerate(figures["orders"])] + [("xz", figures["xz"])]
    shown = ", ".join(f"{what} {bits:.3f}" for what, bits in named if bits is not None)
    if not shown:
        return [LINE.format("to beat", "the text is too short to say")]
    where = f"on {figures['measured']:,} of {figures['split']}, learned from {figures['learned']:,} of train"
    return [LINE.format("to beat", f"{shown} bits per character"), LINE.format("", where)]


def _advice(meta: dict[str, Any]) -> list[str]:
    """Advice that follows from the lines of the text; DATA folders of older versions hold no figures of lines."""
    found, advice = meta["report"].get("lines"), []
    if any(code == 0 for code, _ in meta["report"]["commonest"][:1]) and meta["level"] == "char":
        advice.append(LINE.format("encoding?", "U+0000 is the commonest character; try --encoding utf-16-le"))
    if found and found["list"] and found["count"]:
        share = f"{found['short'] / found['count']:.0%} of {found['count']:,} lines are short"
        advice.append(LINE.format("a list?", f"{share}; if they are independent, as names are, train with --stateless"))
    if found and found["cr_lf"] and meta["level"] == "char":
        ends = f"{found['cr_lf']:,} of {found['count']:,} are CR LF; --newlines lf makes them LF"
        advice.append(LINE.format("line ends", ends))
    return advice


def _shown(code: int) -> str:
    """The character itself if it is visible, else its name."""
    character = chr(code)
    names = {" ": "space", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    visible = character.isprintable() and not character.isspace()
    return character if visible else names.get(character, f"U+{code:04X}")


def _repairs(meta: dict[str, Any]) -> list[str]:
    """What was changed in the text while it was read; no lines if nothing was changed."""
    repairs, left_out, lines = meta["repairs"], meta["left_out"], []
    if repairs["byte_order_marks"]:
        lines.append(LINE.format("dropped", f"a byte-order mark at the start of {repairs['byte_order_marks']} file(s)"))
    if repairs["places"]:
        how = {"replace": "replaced by U+FFFD", "skip": "skipped"}.get(meta["options"]["errors"], "kept as surrogates")
        lines.append(
            LINE.format(
                how.split()[0], f"{repairs['bytes']:,} undecodable bytes, {how}, in {repairs['places']:,} places"
            )
        )
    if left_out["characters"]:
        share = left_out["characters"] / meta["characters"]
        lines.append(
            LINE.format("left out", f"{left_out['symbols']:,} rare characters, {share:.2%} of the text, now U+FFFD")
        )
    return lines
