#!/bin/bash
# Help goes to standard output and succeeds; mistakes go to standard error and fail with 1 (docs/format.md C-1).
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

says() { # text, arguments...
  local expected=$1
  shift
  "$BYRE" "$@" > output 2> error || { echo "failed: byre $*" && exit 1; }
  grep -qF -- "$expected" output || { echo "byre $*: '$expected' is missing in: $(cat output)" && exit 1; }
  [[ ! -s error ]] || { echo "byre $*: $(cat error)" && exit 1; }
}
fails() {
  local expected=$1 status=0
  shift
  "$BYRE" "$@" > output 2> error || status=$?
  [[ $status == 1 && ! -s output ]] || { echo "byre $*: exit $status" && exit 1; }
  grep -qF -- "$expected" error || { echo "byre $*: '$expected' is missing in: $(cat error)" && exit 1; }
}

says 'Subcommands:' help
says 'Subcommands:' --help
says 'byre 0.' --version
for command in $("$BYRE" help | sed -n '/^Subcommands:/,$s/^  \([a-z]*\) .*/\1/p'); do
  says "Usage: byre $command" help "$command"
  says "Usage: byre $command" "$command" --help
  says 'Examples:' help "$command"
done
fails 'a command is missing'
fails "unknown command 'creat'; did you mean 'create'?" creat
fails "unknown command 'zork'" zork
fails "unknown command 'zork'" help zork
fails '--zork' info --zork image
fails "--output must be human or json, not 'xml'" info --output=xml image
fails 'image: No such file' info image
fails "Try 'byre info --help'" info
if "$BYRE" help > /dev/full 2> error; then echo 'a full disk went unnoticed' && exit 1; fi
grep -q '^byre: standard output: ' error
