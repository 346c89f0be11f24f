#!/bin/bash
# Converted images are identical to their sources, among them 8 TiB disks of which 2 GiB are used.
exec "$(dirname "$(realpath "$0")")/compare_converted.py" --sparse-mib 2048
