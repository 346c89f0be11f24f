#!/usr/bin/env python3
"""module_order.py DIRECTORY MODULE...: the files of kernel modules and of those they need, each behind what it needs,
relative to the directory. What is built into the kernel has no file and is left out."""
import re
import sys
from pathlib import Path

NEEDS = re.compile(rb"\0depends=([^\0]*)\0")


def main():
    root = Path(sys.argv[1])
    files = {re.sub(r"\.ko.*$", "", file.name).replace("-", "_"): file for file in root.rglob("*.ko")}
    ordered = []

    def add(name):
        name = name.replace("-", "_")
        if name not in files or name in ordered:
            return
        for needed in NEEDS.search(files[name].read_bytes()).group(1).decode().split(","):
            add(needed)
        ordered.append(name)

    for name in sys.argv[2:]:
        add(name)
    # ext4 asks for its checksum by the name of the algorithm, not as something that it depends on.
    for name in ("crc32c_generic", "crc32c-intel"):
        add(name)
    ordered.sort(key=lambda name: not name.startswith("crc32c"))
    print("\n".join(str(files[name].relative_to(root)) for name in ordered))


main()
