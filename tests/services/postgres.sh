#!/usr/bin/env bash
# One real PostgreSQL server for tests: a cluster of its own in a temporary folder, on 127.0.0.1 only.
#
#   postgres.sh start [PORT]    make the cluster if new, run it, wait until it answers; prints what `env` prints
#   postgres.sh env             what the tests read, as `export NAME=value` lines
#   postgres.sh stop            stop that server; the data stays
#   postgres.sh restart         stop it as a crash does and start it again
#   postgres.sh wipe            stop, and remove the data
#   postgres.sh status          exit code 0 when it runs, 3 when not
#
# Needs Debian's `postgresql` (or any other: initdb, pg_ctl and psql on PATH or in PG_BIN) and openssl.
# PostgreSQL does not run as root: there this script runs it as the user `postgres`, or as PG_USER.
# Settings, all from the environment: PG_PORT (15432), PG_STATE ($TMPDIR/samestream-postgres-PORT), PG_BIN, PG_USER
set -euo pipefail

PORT="${PG_PORT:-15432}"
[ "${1:-}" = start ] && [ $# -ge 2 ] && PORT="$2"
STATE="${PG_STATE:-${TMPDIR:-/tmp}/samestream-postgres-$PORT}"
DATA="$STATE/data"
# Throw-away: this server listens on the loopback only.
PASSWORD=samestream-test
USER_NAME=tester

source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

find_bin() {
  [ -n "${PG_BIN:-}" ] && { echo "$PG_BIN"; return; }
  local newest
  newest="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)"
  [ -n "$newest" ] && { echo "$newest"; return; }
  dirname "$(command -v initdb || die "initdb is not on PATH; install Debian's postgresql")"
}
BIN="$(find_bin)"

# Runs a program as one who is not root.
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid "${PG_USER:-postgres}" --regid "${PG_USER:-postgres}" --clear-groups "$@"; else "$@"; fi
}

make_cluster() {
  [ -f "$STATE/complete" ] && return 0
  rm -rf "$STATE" && mkdir -p "$STATE" && chmod 755 "$STATE"
  printf '%s' "$PASSWORD" >"$STATE/password"
  make_keys "$STATE"
  chmod 600 "$STATE/server.key"
  [ "$(id -u)" = 0 ] && chown -R "${PG_USER:-postgres}" "$STATE"
  as_user "$BIN/initdb" -D "$DATA" -U "$USER_NAME" --pwfile="$STATE/password" --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 >"$STATE/initdb.log" 2>&1 || { cat "$STATE/initdb.log" >&2; die "initdb went wrong"; }
  as_user tee -a "$DATA/postgresql.conf" >/dev/null <<CONF
port = $PORT
listen_addresses = '127.0.0.1'
unix_socket_directories = '$STATE'
ssl = on
ssl_cert_file = '$STATE/server.pem'
ssl_key_file = '$STATE/server.key'
max_connections = 50
CONF
  touch "$STATE/complete"
}

run() { as_user "$BIN/pg_ctl" -D "$DATA" -l "$STATE/server.log" -w -t 60 "$@" >&2 || { tail -20 "$STATE/server.log" >&2; die "pg_ctl $1 went wrong"; }; }
# By its own means, which know its processes better.
running() { as_user "$BIN/pg_ctl" -D "$DATA" status >/dev/null 2>&1; }

print_env() {
  cat <<ENV
export SAMESTREAM_TEST_POSTGRES=postgres://$USER_NAME:$PASSWORD@127.0.0.1:$PORT/postgres
export SAMESTREAM_TEST_POSTGRES_CA=$STATE/ca.pem
export PG_PORT=$PORT
ENV
}

case "${1:-}" in
  start) make_cluster; running || run start; print_env ;;
  env) print_env ;;
  stop) ! running || run stop -m fast ;;
  restart) run restart -m immediate ;;
  wipe) ! running || run stop -m immediate; rm -rf "$STATE" ;;
  status) running || exit 3 ;;
  *) usage ;;
esac
