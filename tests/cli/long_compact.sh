#!/bin/bash
# 300 images and 200 kills, and a file system with the system's own files and 200 kills.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
"$here/compact.py" --images 300 --kills 200 --seed 1001
"$here/lib/compact_real.py" --kills 200
