#!/bin/bash
# 5,000 kills of byre io leave sound images; none of the streams is one of the daily test.
exec "$(dirname "$(realpath "$0")")/kills.py" --kills 5000 --first 1000001
