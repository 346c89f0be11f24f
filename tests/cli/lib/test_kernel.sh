#!/bin/bash
# test_kernel.sh DIRECTORY: a Debian kernel, unpacked there once; prints where its boot/ and lib/ are.
set -euo pipefail
mkdir -p "$1"
directory=$(realpath "$1")
exec 9>"$directory/lock"
flock 9
if [[ ! -e $directory/complete ]]; then
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" && /linux-image-/ {print $2; exit}')
  [[ -n $package ]] || { echo "no kernel package is known: apt-get update" >&2; exit 1; }
  cd "$directory"
  apt-get download -q "$package" >&2
  dpkg-deb -x "$package"_*.deb unpacked
  rm "$package"_*.deb
  PATH=$PATH:/usr/sbin:/sbin
  if command -v depmod >/dev/null; then depmod -b unpacked "$(basename unpacked/lib/modules/*)"; fi
  touch "$directory/complete"
fi
echo "$directory/unpacked"
