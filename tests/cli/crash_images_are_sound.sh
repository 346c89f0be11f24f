#!/bin/bash
# What crashes leave in the simulator is no corruption for another implementation either, and reads the same there.
#   crash_images_are_sound.sh [COUNT [FIRST_SEED]]
set -euo pipefail
command -v qemu-img >/dev/null || { echo "qemu-img is not installed"; exit 77; }
count=${1-1000} seed=${2-90000000}
workers=$((2 * $(nproc)))  # the tools wait half of their time
batch=2000  # files of so many images lie in the directory at once

# The dirty bit of version 3: counts may be wrong, and the reference must get them right without losing anything.
is_dirty() { (($(od -An -tu1 -j7 -N1 "$1") == 3 && $(od -An -tu1 -j79 -N1 "$1") & 1)); }

judge() {
  local image status
  for image in "$@"; do
    status=0
    if is_dirty "$image"; then
      qemu-img compare -q -f qcow2 -F raw "$image" "${image%.qcow2}.raw" || echo "$image: dirty, it reads differently"
      qemu-img check -q -f qcow2 -r all "$image" >"$image.check" 2>&1 ||
        echo "$image: the repair of a dirty image exits with $?: $(tail -3 "$image.check")"
      echo dirty >>"$dirty"
    fi
    qemu-img check -q -f qcow2 "$image" >"$image.check" 2>&1 || status=$?
    if ((status != 0 && status != 3)); then
      echo "$image: check exits with $status: $(head -3 "$image.check")"
    elif ! qemu-img compare -q -f qcow2 -F raw "$image" "${image%.qcow2}.raw"; then
      echo "$image: it reads differently"
    elif ((status == 3)); then
      echo leaks >>"$leaks"
    fi
  done
}
export -f judge is_dirty

place=$TEST_DIR
if [[ -w /dev/shm ]]; then place=/dev/shm; fi
scratch=$(mktemp -d -p "$place" byre-crash-images-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export leaks=$TEST_DIR/leaks dirty=$TEST_DIR/dirty
: >"$leaks"
: >"$dirty"
judged=0 failed=0
while ((judged < count)); do
  now=$((count - judged < batch ? count - judged : batch))
  "$CRASH_IMAGES" "$scratch" "$now" "$seed" || failed=1
  find "$scratch" -name '*.qcow2' -print0 | sort -z >"$TEST_DIR/list"
  found=$(tr -cd '\0' <"$TEST_DIR/list" | wc -c)
  ((found == now)) || { echo "$found images were written, not $now"; exit 1; }
  xargs -0 -P"$workers" -n 25 bash -c 'judge "$@"' judge <"$TEST_DIR/list" >"$TEST_DIR/findings"
  if [[ -s $TEST_DIR/findings ]]; then
    cat "$TEST_DIR/findings"
    cp -r "$scratch" "$TEST_DIR/images"
    exit 1
  fi
  rm -rf "${scratch:?}"/*
  judged=$((judged + now)) seed=$((seed + 100000))
done
echo "$judged crash images judged, $(wc -l <"$leaks") of them leak, $(wc -l <"$dirty") are dirty, none is corrupt"
exit "$failed"
