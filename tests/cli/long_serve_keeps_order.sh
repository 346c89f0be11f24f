#!/bin/bash
# Ten minutes of colliding requests, and 100 kills.
exec "$(dirname "$(realpath "$0")")/serve_keeps_order.py" --seconds 600 --kills 100 --seed 1001
