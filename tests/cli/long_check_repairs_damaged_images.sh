#!/bin/bash
# All of them.
STRIDE=1 exec "$(dirname "$(realpath "$0")")/check_repairs_damaged_images.py"
