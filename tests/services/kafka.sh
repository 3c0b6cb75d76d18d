#!/usr/bin/env bash
# One real Apache Kafka broker for tests and measurements: KRaft, a single node, from Maven, no container.
#
#   kafka.sh install                 resolve the jars into the cache (once; `start` does it when needed)
#   kafka.sh start [PORT]            format if new, run, wait until it answers; prints the addresses as `env` does
#   kafka.sh env                     the addresses and settings that the tests read, as `export NAME=value` lines
#   kafka.sh stop                    stop that broker (its own process only); the data stays
#   kafka.sh kill                    end it with SIGKILL, as a machine that goes away; `start` starts it again
#   kafka.sh topic NAME PARTITIONS   create a topic (no error when it exists); further k=v become its settings
#   kafka.sh drop NAME               delete a topic
#   kafka.sh offsets NAME            end offset of every partition
#   kafka.sh tool CLASS …            run one of Kafka's own programs, such as org.apache.kafka.tools.ConsoleProducer
#   kafka.sh wipe                    stop, and remove the data and the keys
#   kafka.sh status                  exit code 0 when it runs, 3 when not
#
# Listeners, all on 127.0.0.1: PORT plaintext, PORT+1 the controller, PORT+2 TLS (a throw-away authority made here),
# PORT+3 SASL (PLAIN and SCRAM-SHA-256) without TLS, PORT+4 SASL over TLS, PORT+5 plaintext for a proxy: it tells clients
# to come to PORT+6, where a test may listen that forwards to PORT+5. Who comes without a password may do all; the user of
# SASL what no ACL denies (`tool org.apache.kafka.tools.AclCommand` makes them; a resource without ACLs is open to all).
#
# Needs: java 17 or newer, mvn, openssl, keytool (comes with java). Settings, all from the environment:
#   KAFKA_VERSION (4.3.1)       KAFKA_PORT (19092)            KAFKA_HEAP (512m)
#   KAFKA_CACHE   (the jars: $XDG_CACHE_HOME/samestream-kafka or ~/.cache/samestream-kafka)
#   KAFKA_STATE   (data, keys, log: $TMPDIR/samestream-kafka-PORT)
#   KAFKA_START_TIMEOUT (90 seconds)
# And, for one node of several, which `cluster.sh` sets:
#   KAFKA_NODE (1)   KAFKA_VOTERS (1@127.0.0.1:PORT+1)   KAFKA_REPLICAS (1)   KAFKA_CLUSTER_ID (a new one)   KAFKA_BOOTSTRAP (127.0.0.1:PORT)
set -euo pipefail

VERSION="${KAFKA_VERSION:-4.3.1}"
PORT="${KAFKA_PORT:-19092}"
[ "${1:-}" = start ] && [ $# -ge 2 ] && PORT="$2"
CACHE="${KAFKA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/samestream-kafka}/$VERSION"
STATE="${KAFKA_STATE:-${TMPDIR:-/tmp}/samestream-kafka-$PORT}"
NODE="${KAFKA_NODE:-1}"
REPLICAS="${KAFKA_REPLICAS:-1}"
# What is written to all but one of three nodes is written.
IN_SYNC=$((REPLICAS > 1 ? REPLICAS - 1 : 1))
BOOTSTRAP="${KAFKA_BOOTSTRAP:-127.0.0.1:$PORT}"
PIDFILE="$STATE/pid"
TLS="$STATE/tls"
# Throw-away: this broker listens on the loopback only.
PASSWORD=samestream-test
USER_NAME=tester

die() { echo "kafka.sh: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is not on PATH"; }

install() {
  [ -f "$CACHE/.complete" ] && return 0
  need mvn
  mkdir -p "$CACHE"
  cat >"$CACHE/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>samestream.test</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
POM
  (cd "$CACHE" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$CACHE/libs") >&2 ||
    die "mvn could not resolve Kafka $VERSION"
  cat >"$CACHE/log4j2.properties" <<'LOG'
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server
logger.server.level = info
LOG
  touch "$CACHE/.complete"
}

# Runs a class of the jars.
run_java() { java -Xmx128m -Dlog4j2.configurationFile="$CACHE/log4j2.properties" -cp "$CACHE/libs/*" "$@"; }

# An authority, and a key for the broker that it signs for 127.0.0.1 and localhost.
make_keys() {
  [ -f "$TLS/broker.p12" ] && return 0
  need openssl
  mkdir -p "$TLS"
  (
    cd "$TLS"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=samestream test authority" \
      -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout broker.key -out broker.csr
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >san
    openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile san -out broker.pem
    openssl pkcs12 -export -in broker.pem -inkey broker.key -certfile ca.pem -passout "pass:$PASSWORD" -out new.p12
    mv new.p12 broker.p12
  ) >"$STATE/keys.log" 2>&1 || { cat "$STATE/keys.log" >&2; die "openssl could not make the keys"; }
}

write_settings() {
  local at="127.0.0.1" plain='org.apache.kafka.common.security.plain.PlainLoginModule' protocol
  cat >"$STATE/server.properties" <<CONF
process.roles=broker,controller
node.id=$NODE
listeners=PLAINTEXT://$at:$PORT,CONTROLLER://$at:$((PORT + 1)),SSL://$at:$((PORT + 2)),SASL_PLAINTEXT://$at:$((PORT + 3)),SASL_SSL://$at:$((PORT + 4)),PROXIED://$at:$((PORT + 5))
advertised.listeners=PLAINTEXT://$at:$PORT,SSL://$at:$((PORT + 2)),SASL_PLAINTEXT://$at:$((PORT + 3)),SASL_SSL://$at:$((PORT + 4)),PROXIED://$at:$((PORT + 6))
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=${KAFKA_VOTERS:-$NODE@$at:$((PORT + 1))}
ssl.keystore.type=PKCS12
ssl.keystore.location=$TLS/broker.p12
ssl.keystore.password=$PASSWORD
ssl.key.password=$PASSWORD
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
log.dirs=$STATE/data
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=$REPLICAS
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$REPLICAS
transaction.state.log.min.isr=$IN_SYNC
transaction.state.log.num.partitions=4
default.replication.factor=$REPLICAS
min.insync.replicas=$IN_SYNC
share.coordinator.state.topic.replication.factor=$REPLICAS
share.coordinator.state.topic.min.isr=$IN_SYNC
log.retention.ms=-1
log.retention.bytes=-1
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=16777216
CONF
  for protocol in sasl_plaintext sasl_ssl; do
    cat >>"$STATE/server.properties" <<CONF
listener.name.$protocol.plain.sasl.jaas.config=$plain required user_$USER_NAME="$PASSWORD";
listener.name.$protocol.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
CONF
  done
}

running() {
  [ -f "$PIDFILE" ] && kill -0 "$(cat "$PIDFILE")" 2>/dev/null &&
    grep -qaF "$STATE/server.properties" "/proc/$(cat "$PIDFILE")/cmdline" 2>/dev/null
}

must_run() { running || die "no broker of mine runs at port $PORT (state in $STATE)"; }
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() {
  local port deadline
  if running; then print_env; return 0; fi
  need java
  install
  for port in $(seq "$PORT" $((PORT + 5))); do
    port_open "$port" && die "port $port is taken"
  done
  mkdir -p "$STATE"
  make_keys
  write_settings
  if [ ! -f "$STATE/data/meta.properties" ]; then
    run_java kafka.tools.StorageTool format -t "${KAFKA_CLUSTER_ID:-$(run_java kafka.tools.StorageTool random-uuid | tail -1)}" \
      -c "$STATE/server.properties" --add-scram "SCRAM-SHA-256=[name=$USER_NAME,password=$PASSWORD]" \
      >"$STATE/format.log" 2>&1 || { cat "$STATE/format.log" >&2; die "the storage could not be formatted"; }
  fi
  # What an earlier broker said must not be taken for this one's.
  : >"$STATE/server.log"
  setsid nohup java -Xms"${KAFKA_HEAP:-512m}" -Xmx"${KAFKA_HEAP:-512m}" -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$CACHE/log4j2.properties" -cp "$CACHE/libs/*" \
    kafka.Kafka "$STATE/server.properties" >"$STATE/server.log" 2>&1 </dev/null &
  echo $! >"$PIDFILE"
  deadline=$((SECONDS + ${KAFKA_START_TIMEOUT:-90}))
  until grep -qs 'Kafka Server started' "$STATE/server.log" && port_open "$PORT"; do
    # By its number alone: for a moment it is still this script's copy.
    kill -0 "$(cat "$PIDFILE")" 2>/dev/null || { rm -f "$PIDFILE"; tail -20 "$STATE/server.log" >&2; die "the broker ended while starting"; }
    [ $SECONDS -lt $deadline ] || { stop; tail -20 "$STATE/server.log" >&2; die "the broker does not answer"; }
    sleep 0.1
  done
  print_env
}

stop() {
  local pid
  if running; then
    pid="$(cat "$PIDFILE")"
    kill "$pid"
    for _ in $(seq 200); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$pid" 2>/dev/null; then kill -9 "$pid"; fi
  fi
  rm -f "$PIDFILE"
}

kill_it() {
  must_run
  kill -9 "$(cat "$PIDFILE")"
  rm -f "$PIDFILE"
}

print_env() {
  cat <<ENV
export KAFKA_PORT=$PORT
export SAMESTREAM_TEST_KAFKA=127.0.0.1:$PORT
export SAMESTREAM_TEST_KAFKA_SSL=127.0.0.1:$((PORT + 2))
export SAMESTREAM_TEST_KAFKA_SASL=127.0.0.1:$((PORT + 3))
export SAMESTREAM_TEST_KAFKA_SASL_SSL=127.0.0.1:$((PORT + 4))
export SAMESTREAM_TEST_KAFKA_PROXIED=127.0.0.1:$((PORT + 5))
export SAMESTREAM_TEST_KAFKA_CA=$TLS/ca.pem
export SAMESTREAM_TEST_KAFKA_USER=$USER_NAME
export SAMESTREAM_TEST_KAFKA_PASSWORD=$PASSWORD
ENV
}

topics() { must_run; run_java org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOTSTRAP" "$@"; }

topic() {
  local name="$1" partitions="$2" setting settings=()
  shift 2
  for setting in "$@"; do settings+=(--config "$setting"); done
  topics --create --if-not-exists --topic "$name" --partitions "$partitions" --replication-factor "$REPLICAS" "${settings[@]}"
}

case "${1:-}" in
  install) install ;;
  start) start ;;
  env) must_run; print_env ;;
  stop) stop ;;
  kill) kill_it ;;
  status) if running; then echo "running, pid $(cat "$PIDFILE"), port $PORT"; else echo stopped; exit 3; fi ;;
  topic) shift; [ $# -ge 2 ] || die "topic NAME PARTITIONS [k=v …]"; topic "$@" ;;
  drop) [ $# -eq 2 ] || die "drop NAME"; topics --delete --topic "$2" ;;
  offsets) [ $# -eq 2 ] || die "offsets NAME"; must_run
    run_java org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$BOOTSTRAP" --topic "$2" ;;
  tool) shift; [ $# -ge 1 ] || die "tool CLASS [ARGUMENT …]"; must_run; run_java "$@" ;;
  wipe) stop; rm -rf "$STATE" ;;
  *) sed -n '2,28p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
