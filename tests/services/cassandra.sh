#!/usr/bin/env bash
# One real Apache Cassandra node for tests: from Maven, no container, on 127.0.0.1 only.
#
#   cassandra.sh install         resolve the jars into the cache (once; `start` does it when needed)
#   cassandra.sh start [PORT]    run it, wait until it answers; prints what `env` prints
#   cassandra.sh env             what the tests read, as `export NAME=value` lines
#   cassandra.sh stop            stop that node (its own process only); the data stays
#   cassandra.sh restart         kill it and start it again on what it has kept
#   cassandra.sh wipe            stop, and remove the data
#   cassandra.sh status          exit code 0 when it runs, 3 when not
#
# PORT is for clients, with and without TLS (a throw-away authority made here); PORT+1 is for other nodes.
# Needs: java 17, mvn, openssl. Settings, all from the environment:
#   CASSANDRA_VERSION (5.0.5)   CASSANDRA_PORT (19142)   CASSANDRA_HEAP (512m)
#   CASSANDRA_CACHE (the jars: $XDG_CACHE_HOME/samestream-cassandra or ~/.cache/samestream-cassandra)
#   CASSANDRA_STATE ($TMPDIR/samestream-cassandra-PORT)   CASSANDRA_START_TIMEOUT (180 seconds)
set -euo pipefail

VERSION="${CASSANDRA_VERSION:-5.0.5}"
PORT="${CASSANDRA_PORT:-19142}"
[ "${1:-}" = start ] && [ $# -ge 2 ] && PORT="$2"
CACHE="${CASSANDRA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/samestream-cassandra}/$VERSION"
STATE="${CASSANDRA_STATE:-${TMPDIR:-/tmp}/samestream-cassandra-$PORT}"
PIDFILE="$STATE/pid"
# What Cassandra makes by itself; throw-away, since this node listens on the loopback only.
USER_NAME=cassandra PASSWORD=cassandra

MARK="$STATE/cassandra.yaml"
source "$(dirname "${BASH_SOURCE[0]}")/process.sh"

# Timeouts are long because a machine that builds and tests at the same time is slow: what a test sees of them would be chance.
write_settings() {
  cat >"$STATE/cassandra.yaml" <<CONF
cluster_name: samestream
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1:$((PORT + 1))"}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: $((PORT + 1))
start_native_transport: true
native_transport_port: $PORT
endpoint_snitch: SimpleSnitch
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
network_authorizer: AllowAllNetworkAuthorizer
auth_cache_warming_enabled: false
data_file_directories: [$STATE/data]
commitlog_directory: $STATE/commitlog
saved_caches_directory: $STATE/saved_caches
hints_directory: $STATE/hints
cdc_raw_directory: $STATE/cdc
commitlog_sync: batch
commitlog_segment_size: 8MiB
commitlog_total_space: 64MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
concurrent_reads: 8
concurrent_writes: 8
concurrent_compactors: 1
file_cache_enabled: false
networking_cache_size: 16MiB
key_cache_size: 8MiB
counter_cache_size: 0MiB
request_timeout: 20s
read_request_timeout: 20s
range_request_timeout: 20s
write_request_timeout: 20s
cas_contention_timeout: 20s
truncate_request_timeout: 60s
native_transport_max_threads: 16
client_encryption_options:
  enabled: true
  optional: true
  keystore: $STATE/server.p12
  keystore_password: $PASSWORD
  store_type: PKCS12
  require_client_auth: false
CONF
  cat >"$STATE/logback.xml" <<'LOG'
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <logger name="ROOT" level="INFO"><appender-ref ref="out"/></logger>
</configuration>
LOG
}

# What Cassandra's own `jvm17-server.options` opens.
java_options() {
  local package
  for package in java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch java.sql/java.sql \
    java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server; do
    echo "--add-exports=$package=ALL-UNNAMED"
  done
  for package in java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
    java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar java.base/sun.nio.ch java.base/java.io \
    java.base/java.lang java.base/java.lang.reflect java.base/java.nio java.base/java.util java.base/java.util.concurrent \
    java.base/java.util.concurrent.atomic jdk.management/com.sun.management.internal; do
    echo "--add-opens=$package=ALL-UNNAMED"
  done
  printf '%s\n' -Djdk.attach.allowAttachSelf=true
}

start() {
  if running; then return 0; fi
  need java
  make_libs "org.apache.cassandra:cassandra-all:$VERSION"
  mkdir -p "$STATE"
  make_java_keys "$STATE" "$PASSWORD"
  write_settings
  port_open "$PORT" && die "something else listens at port $PORT"
  # Emptied here: what an earlier server has said does not speak of this one.
  : >"$STATE/server.log"
  # shellcheck disable=SC2046
  (cd "$STATE" && exec setsid java $(java_options) -Xms"${CASSANDRA_HEAP:-512m}" -Xmx"${CASSANDRA_HEAP:-512m}" -XX:+UseSerialGC \
    -XX:TieredStopAtLevel=1 -Xshare:auto -XX:MaxDirectMemorySize=256m \
    -Dcassandra.config="file://$STATE/cassandra.yaml" -Dlogback.configurationFile="$STATE/logback.xml" \
    -Dcassandra.storagedir="$STATE" -Dcassandra.logdir="$STATE" -Djava.io.tmpdir="$STATE" -Djna.tmpdir="$STATE" \
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=1 -Dcassandra.superuser_setup_delay_ms=0 \
    -Dcassandra.native_transport_startup_delay_seconds=0 -Dcassandra.jmx.local.port=0 -Dcassandra-foreground=yes \
    -cp "$CACHE/libs/*" org.apache.cassandra.service.CassandraDaemon) >>"$STATE/server.log" 2>&1 </dev/null &
  echo $! >"$PIDFILE"
  wait_until "${CASSANDRA_START_TIMEOUT:-180}" answers
  touch "$STATE/complete"
}

# The first start makes the role that clients come as, a moment after it listens.
answers() {
  grep -qs "Starting listening for CQL clients" "$STATE/server.log" && port_open "$PORT" &&
    { [ -f "$STATE/complete" ] || grep -q "Created default superuser role" "$STATE/server.log"; }
}

print_env() {
  cat <<ENV
export SAMESTREAM_TEST_CASSANDRA=cassandra://$USER_NAME:$PASSWORD@127.0.0.1:$PORT
export SAMESTREAM_TEST_CASSANDRA_CA=$STATE/ca.pem
export CASSANDRA_PORT=$PORT
ENV
}

case "${1:-}" in
  install) make_libs "org.apache.cassandra:cassandra-all:$VERSION" ;;
  start) start; print_env ;;
  env) print_env ;;
  stop) end TERM ;;
  restart) end KILL; start ;;
  wipe) end KILL; rm -rf "$STATE" ;;
  status) running || exit 3 ;;
  *) usage ;;
esac
