#!/bin/bash
# 20 chains of 51 layers and 200 kills; none of them is one of the daily test.
exec "$(dirname "$(realpath "$0")")/chains.py" --chains 20 --kills 100 --seed 1001
