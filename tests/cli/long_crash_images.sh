#!/bin/bash
# 50,000 crash images are no corruption for another implementation; none of them is one of the daily test.
exec "$(dirname "$(realpath "$0")")/crash_images_are_sound.sh" 50000 900000000
