"""Files in memory, for what a process prints."""

import os


def memory_file():
    return open(os.memfd_create("output"), "rb", buffering=0)


def bytes_of(file, most=1 << 30):
    return os.pread(file.fileno(), min(most, os.fstat(file.fileno()).st_size), 0)


def text_of(file):
    return bytes_of(file).decode("utf-8", "replace")
