#!/usr/bin/env bash
# The main job with a real Kafka broker: generator -> topic -> stream; topic -> lake -> batch; verify.
#
#   tests/services/main-job.sh [FOLDER]        files go to FOLDER, by default ./samestream-kafka-demo
#
# Starts the broker with tests/services/kafka.sh (java 17, mvn, openssl), and stops it if it was not running before.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$here/../.."
folder="${1:-samestream-kafka-demo}"
mkdir -p "$folder"

cargo build --release --manifest-path "$root/Cargo.toml"
target="${CARGO_TARGET_DIR:-$root/target}"
samestream() { (cd "$folder" && "$samestream_bin" "$@"); }
samestream_bin="$(cd "$(dirname "$target/release/samestream")" && pwd)/samestream"

if ! "$here/kafka.sh" status >/dev/null; then trap "\"$here/kafka.sh\" stop" EXIT; fi
eval "$("$here/kafka.sh" start)"
topic="clicks-$(date +%s)"
cat >"$folder/page_views.yaml" <<YAML
version: 1
name: page_views
sources:
  clicks:
    kafka: {brokers: "$SAMESTREAM_TEST_KAFKA", topic: $topic}
    lake: {path: "lake/$topic"}
    format: json
    schema: {event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}
    event_time: {column: event_time, out_of_orderness: 30s}
steps:
  per_page:
    from: clicks
    where: "page <> ''"
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {views: "count(*)", visitors: "count_distinct(user_id)", revenue: "sum(amount)"}
sinks:
  page_views: {from: per_page, parquet: {path: out}}
YAML
samestream gen --to "kafka:$SAMESTREAM_TEST_KAFKA/$topic" --events 1000000
samestream run page_views.yaml --mode stream --until-caught-up --out out-stream
samestream archive page_views.yaml --until-caught-up
samestream run page_views.yaml --mode batch --out out-batch
samestream verify page_views.yaml
