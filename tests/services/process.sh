# What the scripts of PostgreSQL, Redis and Cassandra share; they source it. A server is the process whose number is in $PIDFILE and in whose
# command line $MARK stands, so that no other one is ever ended.

SCRIPT="$(basename "$0")"
PIDFILE="${PIDFILE:-}"
MARK="${MARK:-}"

die() { echo "$SCRIPT: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is not on PATH${2:+; install $2}"; }
process() { cat "$PIDFILE" 2>/dev/null; }
running() { [ -n "$(process)" ] && kill -0 "$(process)" 2>/dev/null && grep -qaF "$MARK" "/proc/$(process)/cmdline" 2>/dev/null; }

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sends the server a signal and waits for its end: TERM lets it end in order, KILL is a crash.
end() {
  local pid
  if running; then
    pid="$(process)"
    kill "-$1" "$pid"
    for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$pid" 2>/dev/null; then kill -9 "$pid"; sleep 0.5; fi
  fi
  rm -f "$PIDFILE"
}

# Waits until a command goes well; shows the end of the server's log if it ends, or takes longer than so many seconds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    running || { rm -f "$PIDFILE"; tail -20 "$STATE/server.log" >&2; die "the server ended while starting"; }
    [ $SECONDS -lt $deadline ] || { end TERM; tail -20 "$STATE/server.log" >&2; die "the server does not answer"; }
    sleep 0.1
  done
}

# An authority in folder $1, and a key that it signs for 127.0.0.1 and localhost: ca.pem, server.key, server.pem.
make_keys() {
  [ -f "$1/server.pem" ] && return 0
  need openssl
  mkdir -p "$1"
  (
    cd "$1"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=samestream test authority" -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >san
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile san -out new.pem
    mv new.pem server.pem
  ) >"$1/keys.log" 2>&1 || { cat "$1/keys.log" >&2; die "openssl could not make the keys"; }
}

# The same for Java, as $1/server.p12 with password $2.
make_java_keys() {
  make_keys "$1"
  [ -f "$1/server.p12" ] && return 0
  openssl pkcs12 -export -in "$1/server.pem" -inkey "$1/server.key" -certfile "$1/ca.pem" -passout "pass:$2" -out "$1/new.p12" &&
    mv "$1/new.p12" "$1/server.p12"
}

# Fetches a Maven artefact GROUP:NAME:VERSION and all that it needs into $CACHE/libs.
make_libs() {
  local group name version
  [ -f "$CACHE/.complete" ] && return 0
  need mvn
  mkdir -p "$CACHE"
  IFS=: read -r group name version <<<"$1"
  cat >"$CACHE/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>samestream.test</groupId><artifactId>server</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$version</version></dependency>
  </dependencies>
</project>
POM
  (cd "$CACHE" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$CACHE/libs") >&2 ||
    die "mvn could not resolve $1"
  touch "$CACHE/.complete"
}

# Prints the head of the script.
usage() { sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2; }
