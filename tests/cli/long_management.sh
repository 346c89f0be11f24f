#!/bin/bash
# 20,000 random programs of management operations; none of them is one of the daily test.
exec "$(dirname "$(realpath "$0")")/management.py" --programs 20000 --first 1000001
