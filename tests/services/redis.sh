#!/usr/bin/env bash
# One real Redis server for tests: with an append-only file in a temporary folder, on 127.0.0.1 only.
#
#   redis.sh start [PORT]    run it, wait until it answers; prints what `env` prints
#   redis.sh env             what the tests read, as `export NAME=value` lines
#   redis.sh stop            stop that server; the data stays
#   redis.sh restart         kill it and start it again on what it has kept
#   redis.sh wipe            stop, and remove the data
#   redis.sh status          exit code 0 when it runs, 3 when not
#
# Needs Debian's `redis-server`. Settings, all from the environment:
#   REDIS_PORT (16379), REDIS_STATE ($TMPDIR/samestream-redis-PORT)
set -euo pipefail

PORT="${REDIS_PORT:-16379}"
[ "${1:-}" = start ] && [ $# -ge 2 ] && PORT="$2"
STATE="${REDIS_STATE:-${TMPDIR:-/tmp}/samestream-redis-$PORT}"
# Throw-away: this server listens on the loopback only.
PASSWORD=samestream-test

PIDFILE="$STATE/pid"
MARK=redis-server
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"
cli() { REDISCLI_AUTH="$PASSWORD" redis-cli -h 127.0.0.1 -p "$PORT" "$@"; }
answers() { [ "$(cli ping 2>/dev/null)" = PONG ]; }

run() {
  need redis-server "Debian's redis-server"
  mkdir -p "$STATE"
  printf '%s\n' "bind 127.0.0.1" "port $PORT" "dir $STATE" "pidfile $STATE/pid" "logfile $STATE/server.log" \
    "daemonize yes" "appendonly yes" "appendfsync always" "save \"\"" "requirepass $PASSWORD" >"$STATE/redis.conf"
  redis-server "$STATE/redis.conf" >&2
  for _ in $(seq 50); do running && break; sleep 0.1; done
  wait_until 10 answers
}

print_env() {
  cat <<ENV
export SAMESTREAM_TEST_REDIS=redis://default:$PASSWORD@127.0.0.1:$PORT/0
export REDIS_PORT=$PORT
ENV
}

case "${1:-}" in
  start) running || run; print_env ;;
  env) print_env ;;
  stop) end TERM ;;
  restart) end KILL; run ;;
  wipe) end KILL; rm -rf "$STATE" ;;
  status) running || exit 3 ;;
  *) usage ;;
esac
