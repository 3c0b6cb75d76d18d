#!/usr/bin/env bash
# Three real Kafka brokers that are one cluster, for tests of brokers that go away: every topic three times, writing needs two.
#
#   cluster.sh start [PORT]          start all nodes and wait; prints the addresses as `env` does
#   cluster.sh env                   the addresses, as `export NAME=value` lines
#   cluster.sh up NODE               start one node (1, 2 or 3) again
#   cluster.sh kill NODE             end one node with SIGKILL
#   cluster.sh down NODE             stop one node in good order
#   cluster.sh pid NODE              the process of one node
#   cluster.sh stop                  stop all nodes; the data stays
#   cluster.sh wipe                  stop, and remove the data
#   cluster.sh topic|drop|offsets|tool …   as of `kafka.sh`, by a node that runs
#
# Each node is a `kafka.sh` of its own, with the ports PORT, PORT+10 and PORT+20 and what follows each; they must be below those
# that the system gives to clients. Settings from the environment: those of `kafka.sh` that are no port or folder, but KAFKA_HEAP
# is 192m a node; KAFKA_CLUSTER_PORT (29092), KAFKA_CLUSTER_STATE ($TMPDIR/samestream-kafka-cluster-PORT).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PORT="${KAFKA_CLUSTER_PORT:-29092}"
[ "${1:-}" = start ] && [ $# -ge 2 ] && PORT="$2"
STATE="${KAFKA_CLUSTER_STATE:-${TMPDIR:-/tmp}/samestream-kafka-cluster-$PORT}"
NODES=(1 2 3)

die() { echo "cluster.sh: $*" >&2; exit 1; }
port_of() { echo $((PORT + 10 * ($1 - 1))); }
brokers() { local n list=(); for n in "${NODES[@]}"; do list+=("127.0.0.1:$(port_of "$n")"); done; (IFS=,; echo "${list[*]}"); }
voters() { local n list=(); for n in "${NODES[@]}"; do list+=("$n@127.0.0.1:$(($(port_of "$n") + 1))"); done; (IFS=,; echo "${list[*]}"); }

# Runs kafka.sh for one node.
node() {
  local n="$1"
  shift
  case "$n" in 1 | 2 | 3) ;; *) die "the nodes are 1, 2 and 3" ;; esac
  KAFKA_PORT="$(port_of "$n")" KAFKA_STATE="$STATE/$n" KAFKA_NODE="$n" KAFKA_VOTERS="$(voters)" KAFKA_REPLICAS=3 \
    KAFKA_CLUSTER_ID=c2FtZXN0cmVhbS10ZXN0cw KAFKA_BOOTSTRAP="$(brokers)" KAFKA_HEAP="${KAFKA_HEAP:-192m}" \
    "$here/kafka.sh" "$@"
}

# The first node that runs.
living() {
  local n
  for n in "${NODES[@]}"; do if node "$n" status >/dev/null; then echo "$n"; return 0; fi; done
  die "no node runs"
}

start() {
  local n pids=() pid
  node 1 install
  # A node is ready when most of them are, so none can be waited for alone.
  for n in "${NODES[@]}"; do node "$n" start >/dev/null & pids+=($!); done
  for pid in "${pids[@]}"; do wait "$pid" || die "a node did not start"; done
  print_env
}

print_env() {
  cat <<ENV
export SAMESTREAM_TEST_CLUSTER=$(brokers)
ENV
}

case "${1:-}" in
  start) start ;;
  env) living >/dev/null; print_env ;;
  up) node "${2:-}" start >/dev/null ;;
  kill) node "${2:-}" kill ;;
  down) node "${2:-}" stop ;;
  pid) cat "$STATE/${2:-}/pid" ;;
  stop) for n in "${NODES[@]}"; do node "$n" stop & done; wait ;;
  wipe) for n in "${NODES[@]}"; do node "$n" wipe & done; wait; rm -rf "$STATE" ;;
  topic | drop | offsets | tool) node "$(living)" "$@" ;;
  *) sed -n '2,17p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
