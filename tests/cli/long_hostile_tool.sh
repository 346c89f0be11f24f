#!/bin/bash
# Every image that was made to harm, looked at by every command; also under the address sanitizer.
exec "$(dirname "$(realpath "$0")")/hostile_tool.py" --all
