#!/bin/bash
# 20,000 random programs agree with another implementation; none of them is one of the daily test.
exec "$(dirname "$(realpath "$0")")/differential.py" --programs 20000 --first 1000001
