# A process of byre that stays: started, waited for, and ended by its own process id, also when the test fails.

fail() { echo "$*" >&2; exit 1; }

service=
end_service() {
  if [[ -n $service ]]; then kill "$service" 2>/dev/null || true; wait "$service" || true; fi
}
trap end_service EXIT

# start_service LINE WORDS...: until it has printed a line with LINE in it. Its output is in service.log.
start_service() {
  local line=$1
  shift
  "$BYRE" "$@" >service.log 2>&1 &
  service=$!
  for _ in $(seq 1000); do
    if grep -q "$line" service.log; then return; fi
    kill -0 "$service" 2>/dev/null || fail "does not start: $(cat service.log)"
    sleep 0.01
  done
  fail "does not start in time: $*"
}

# service_ended: it was told to, or ends by itself.
service_ended() {
  wait "$service" || fail "ends with an error: $(cat service.log)"
  service=
}

finish_service() {
  kill "$service"
  service_ended
}
