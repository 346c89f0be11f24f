#!/usr/bin/env python3
"""map --output=svg: a well-formed picture whose coloured areas are what the image holds."""

import os
import subprocess
import xml.etree.ElementTree as xml

BYRE = os.environ.get("BYRE", "byre")
SVG = "{http://www.w3.org/2000/svg}"
SIDE, GAP, TOP = 512, 40, 84


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout


def draw(image, *words):
    return xml.fromstring(run(BYRE, "map", "--output=svg", *words, image))


def colours(picture):
    """The legend: colour by text."""
    rects, texts = picture.findall(SVG + "rect"), picture.findall(SVG + "text")
    boxes = [r for r in rects if r.get("width") == "16.00" and r.get("height") == "14.00"]
    return {text.text: box.get("fill") for text, box in zip(texts[-len(boxes):], boxes)}


def shares(picture, square):
    left = GAP + square * (SIDE + GAP)
    found = {}
    for rect in picture.findall(SVG + "rect"):
        x, y, width, height = (float(rect.get(key).rstrip("%")) for key in ("x", "y", "width", "height")) \
            if rect.get("x") else (0, 0, 0, 0)
        if left <= x < left + SIDE and TOP <= y < TOP + SIDE and rect.get("fill") != "#f4f4f2":
            found[rect.get("fill")] = found.get(rect.get("fill"), 0) + width * height
    whole = sum(found.values())  # the last row need not be full
    return {fill: area / whole for fill, area in found.items()}


def expect(found, wanted, what):
    if abs(found - wanted) > 0.01:
        raise SystemExit(f"{what}: {found:.3f} of the square, not {wanted:.3f}")


def main():
    name = "<a> & b.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", name, "64M")
    run("qemu-io", "-c", "write -P 1 0 16M", "-c", "write -z 32M 8M", name)
    picture = draw(name)
    if picture.find(SVG + "text").text != name:
        raise SystemExit("the name is not the title")
    legend, disk, file = colours(picture), shares(picture, 0), shares(picture, 1)
    expect(disk[legend["data"]], 16 / 64, "data")
    expect(disk[legend["zeros"]], 8 / 64, "zeros")
    expect(disk[legend["not allocated; free"]], 40 / 64, "nothing")
    expect(file[legend["data"]], 256 / 261, "data in the file")  # header, two of refcounts, L1, L2
    expect(file[legend["tables of the image"]], 5 / 261, "tables")

    run("qemu-img", "snapshot", "-c", "first", name)
    run("qemu-io", "-c", "write -P 2 0 4M", "-c", "write -P 2 16M 4M", name)
    picture = draw(name)
    legend, disk, file = colours(picture), shares(picture, 0), shares(picture, 1)
    expect(disk[legend["data, in snapshot first first"]], 12 / 64, "old data")
    expect(disk[legend["data, written since"]], 8 / 64, "new data")
    clusters = os.path.getsize(name) / 65536
    expect(file[legend["data, in snapshot first first"]], 192 / clusters, "old data in the file")
    pale = [share for fill, share in file.items() if fill not in legend.values()]
    expect(sum(pale), 64 / clusters, "data of the snapshot alone")
    disk = shares(draw(name, "--snapshot", "first"), 0)
    expect(disk[legend["data, in snapshot first first"]], 16 / 64, "data of the snapshot")

    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "qcow2", "top.qcow2")
    picture = draw("top.qcow2")
    expect(shares(picture, 0)[colours(picture)["the backing file shows"]], 1, "an empty overlay")
    with open("raw", "wb") as raw:
        raw.truncate(1 << 20)
    run(BYRE, "map", "-f", "raw", "--output=svg", "raw", code=1)
    run(BYRE, "map", "--output=svg", "-s", "1M", name, code=1)
    run(BYRE, "map", "--output=png", name, code=1)


main()
