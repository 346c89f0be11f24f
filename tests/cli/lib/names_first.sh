# What calls qemu-img, qemu-io or qemu-nbd gets "$BYRE" through a link of that name, which is first in PATH.
# ./calls holds the command lines.

fail() { echo "$*" >&2; exit 1; }

mkdir names first
: >calls
for name in qemu-img qemu-io qemu-nbd; do
  ln -s "$(realpath "$BYRE")" "names/$name"
  cat >"first/$name" <<END
#!/bin/bash
echo "$name \$*" >>"$PWD/calls"
exec "$PWD/names/$name" "\$@"
END
  chmod +x "first/$name"
done
PATH=$PWD/first:/usr/sbin:/usr/bin:/sbin:/bin
REFERENCE=/usr/bin/qemu-img  # that judges what came of it

# called PATTERN: a command line that matches has been given.
called() { grep -qE -- "$1" calls || fail "nobody called: $1
calls were: $(cat calls)"; }

sound() {  # IMAGE...
  local image
  for image; do "$REFERENCE" check -q "$image" || fail "$image is not sound"; done
}
