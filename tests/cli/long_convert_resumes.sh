#!/bin/bash
# 500 conversions that are interrupted; none of the moments is one of the daily test.
exec "$(dirname "$(realpath "$0")")/convert_resumes.py" --rounds 500 --seed 1000001
