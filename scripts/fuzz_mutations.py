"""Ways to damage a file: its bytes, the values of its JSON, the arrays that it holds, or what stands in its place."""

import io
import json
import os
import re
import struct
import zipfile

import numpy as np

LARGE = [2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400]
VALUES = [None, True, False, -1, 0, 1, 2, 7, 10**6, *LARGE, *(-n for n in LARGE[:4])]
VALUES += [0.5, -0.5, 1e-320, 1e-30, 1e30, 1e308, float("nan"), float("inf"), -float("inf")]
VALUES += [
    "",
    "x",
    "none",
    "char",
    "byte",
    "\0",
    "\ud800",
    "\x1b[2J",
    "/",
    "..",
    "é" * 5000,
    "99999999999:99999999999",
    "9:8",
]
VALUES += [[], {}, [[]], [None], {"a": 1}, ["a", 1], [0] * 1000]
HEADERS = [b"(" * 900, b"{", b"'", b"{'a': 1}", b"1\n\t 2", b"\\", b"{**1}", b"[" * 60000, b"\xff"]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]
BOMB = 2**27  # bytes, of which a zip keeps a thousandth
NUMBERS = [0, 1, 255, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1]  # written over bytes of a file
TYPES = ["u1", "u2", "u4", "i8", "f2", "f8", "c8", "b1", "U3", "S2", "O", ">f4", ">u2", "M8[s]", "V5"]


def mutate(rng, path):
    """Damage a file, or what it stands for; returns what was done."""
    if rng.random() < 0.04:
        return replace_file(rng, path)
    kinds = {".npz": npz, ".npy": npy, ".json": of_json, ".jsonl": of_lines}
    if path.suffix in kinds and rng.random() < 0.65:
        return kinds[path.suffix](rng, path)
    content, what = of_bytes(rng, path.read_bytes())
    path.write_bytes(content)
    return what


def replace_file(rng, path):
    """Something else in its place."""
    ours = path.parent.name in ("data", "run")
    what = rng.choice(["nothing", "folder", "pipe", "device", "loop", "nowhere", "empty", "large"])
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe" and ours:  # a pipe of text is waited for
        os.mkfifo(path)
    elif what in ("device", "loop", "nowhere") and ours:
        path.symlink_to({"device": "/dev/zero", "loop": path.name, "nowhere": "none"}[what])
    elif what == "empty":
        path.touch()
    elif what == "large":
        path.touch()
        os.truncate(path, 2**28 if ours else 2**22)
    return f"became {what}"


def of_bytes(rng, content):
    """Bits flipped, bytes cut off, put in, taken out or written over; mostly near the ends, where headers are."""
    if not content:
        return b"\0", "got a byte"
    near = rng.choice([40, 150, 600, len(content)])
    at = rng.choice([0, max(0, len(content) - near)]) + rng.randrange(min(near, len(content)))
    at, kind = (
        min(at, len(content) - 1),
        rng.choice(["flip", "flip", "flips", "cut", "insert", "delete", "number", "repeat"]),
    )
    changed = bytearray(content)
    if kind == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "flips":
        for _ in range(rng.randrange(2, 30)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[at:]
    elif kind == "insert":
        changed[at:at] = rng.randbytes(rng.randrange(1, 9))
    elif kind == "delete":
        del changed[at : at + rng.randrange(1, 9)]
    elif kind == "number":
        number = struct.pack("<Q", rng.choice(NUMBERS))[: rng.choice([2, 4, 8])]
        changed[at : at + len(number)] = number
    else:
        changed[at:at] = changed[at : at + 60] * rng.choice([1, 50])
    return bytes(changed), f"{kind} at {at}"


def of_value(rng, value):
    """A JSON value with one of its parts changed, taken out, or put in."""
    todo = [value]
    places = []
    while todo:
        here = todo.pop()
        keys = list(here) if isinstance(here, dict) else range(min(len(here), 50))
        for key in keys:
            places.append((here, key))
            if isinstance(here[key], (dict, list)):
                todo.append(here[key])
    if not places or rng.random() < 0.02:
        return rng.choice(VALUES), "is another value"
    here, key = rng.choice(places)
    kind = rng.choice(["change", "change", "change", "nudge", "delete", "add", "deepen"])
    if kind == "delete":
        del here[key]
    elif kind == "add" and isinstance(here, dict):
        here["more"] = rng.choice(VALUES)
    elif kind == "nudge" and isinstance(here[key], (int, float)):
        here[key] = here[key] * rng.choice([-1, 2, 0.5, 1000]) + rng.choice([-1, 0, 1])
    elif kind == "deepen":
        return json.dumps(value).replace(json.dumps(here[key]), "[" * 5000 + "]" * 5000, 1), f"{key} is deep"
    else:
        here[key] = rng.choice(VALUES)
    return value, f"{kind} {key}: {str(here.get(key) if isinstance(here, dict) else '')[:30]!r}"


def changed_json(rng, text):
    """A JSON text with one value changed."""
    value = json.loads(text)
    if not isinstance(value, (dict, list)):
        return "0", "is 0"
    value, what = of_value(rng, value)
    return value if isinstance(value, str) and what.endswith("deep") else json.dumps(value), what


def of_json(rng, path):
    text, what = changed_json(rng, path.read_text())
    path.write_text(text)
    return what


def of_lines(rng, path):
    lines = path.read_text().splitlines()
    at = rng.randrange(len(lines))
    lines[at], what = changed_json(rng, lines[at])
    if rng.random() < 0.2:
        lines = lines[at : at + 1]
    path.write_text("".join(f"{line}\n" for line in lines))
    return f"line {at} {what}"


def of_array(rng, array):
    """An array of another shape, type or content."""
    kind = rng.choice(["type", "shape", "value", "value", "value", "order", "length"])
    if kind == "type":
        dtype = rng.choice(TYPES)
        return array.astype(dtype) if array.dtype.kind != "U" else np.zeros(array.shape, dtype), f"of type {dtype}"
    if kind == "shape":
        shape = rng.choice([(), (0,), (1,), (-1,), (1, -1), (-1, 1), (1, 1, -1), array.shape[::-1]])
        return np.resize(array, [size if size >= 0 else max(array.size, 1) for size in shape]), f"of shape {shape}"
    if kind == "order":
        return np.asfortranarray(array), "in the other order"
    if kind == "length":
        return np.resize(
            array, (array.size + rng.choice([-1, 1, 5]),)
        ) if array.size > 1 else array, "of another length"
    changed = array.copy()
    if array.dtype.kind == "f":
        changed = changed.astype(rng.choice(["f4", "f8"]))
        changed.flat[rng.randrange(changed.size)] = rng.choice(
            [np.nan, np.inf, 1e38, 1e-42, 1e300 if changed.itemsize == 8 else 1e30]
        )
    elif array.dtype.kind in "iu" and array.size:
        info = np.iinfo(array.dtype)
        changed.flat[rng.randrange(array.size)] = rng.choice([info.min, info.max, 0, info.max // 2])
    return changed, "with another number"


def npy(rng, path):
    """A split: its header as text, or its array."""
    if rng.random() < 0.5:
        content = path.read_bytes()
        changed, what = of_header(rng, content)
        path.write_bytes(changed)
        return what
    array, what = of_array(rng, np.load(path))
    np.save(path, array, allow_pickle=True)
    return what


def of_header(rng, content):
    """An .npy whose header declares something else."""
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length]
    number = str(rng.choice([0, 1, 7, *LARGE])).encode()
    changes = [
        (rb"\(\d+", b"(" + number),
        (rb"<f4|\|u1|<u2", rng.choice(TYPES).encode()),
        (rb"False", rng.choice([b"True", b"None", b"0", b"1"])),
        (rb"\{.*", rng.choice(HEADERS)),
        (rb" +\n", b"\n  x\n"),
    ]
    pattern, new = rng.choice(changes)
    header = re.sub(pattern, lambda _: new, header, count=1)
    if rng.random() < 0.8:
        header = header[:65000].ljust(length)
        content = content[:8] + len(header).to_bytes(2, "little") + header + content[10 + length :]
    else:
        content = content[:10] + header + content[10 + length :]
    return content, f"header {pattern.decode()} becomes {new[:20]!r}"


def npz(rng, path):
    """A checkpoint whose checksums are right, with something wrong in it."""
    with np.load(path) as file:
        arrays = dict(file.items())
    texts = ["model", "training", "progress", "form"]
    kind = rng.choice(["json"] * 16 + ["array"] * 6 + ["header"] * 5 + ["missing", "more"])
    save = rng.choice([np.savez, np.savez, np.savez_compressed])
    name = rng.choice(texts if kind == "json" else list(arrays))
    if kind == "json":
        text, what = changed_json(rng, str(arrays[name]))
        arrays[name] = np.array(text)
    elif kind == "array":
        arrays[name], what = of_array(rng, arrays[name])
    elif kind == "missing":
        what = "missing"
        del arrays[name]
    elif kind == "more":
        what, save = "a zip bomb beside it", np.savez_compressed
        arrays["more"] = np.zeros(BOMB, np.uint8)
    else:
        return header_in_npz(rng, path, arrays, name)
    with open(path, "wb") as file:
        save(file, **arrays)
    return f"{name} {what}"


def header_in_npz(rng, path, arrays, name):
    """One member's header declares something else."""
    what = ""
    with zipfile.ZipFile(path, "w", rng.choice(METHODS)) as archive:
        for member, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            changed = content.getvalue()
            if member == name:
                changed, what = of_header(rng, changed)
                if rng.random() < 0.05:
                    changed += bytes(BOMB)
            archive.writestr(f"{member}.npy", changed)
    return f"{name} {what}"
