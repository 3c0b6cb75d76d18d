"""Spark, local with two threads. Batch: SQL over the Parquet files. Stream: one `availableNow` run over the topic, without a limit per
batch, which is its fastest way to catch up; the windows that are still open at the end stay in its state and are not in the result."""
import json, sys, time

import measure
from bench import THREADS
from engines import WARM_UP

PACKAGES = ["pyspark==3.5.7"]
JARS, JARS_ALONE = ["org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7"], False
FIGURES = "count(*) as events, sum(amount) as revenue, min(amount) as least, max(amount) as best, avg(amount) as mean"
BATCH = {
    "pages": f"select page, window(event_time, '1 minute').start as window_start, {FIGURES} from lake group by page, window(event_time, '1 minute')",
    "users": f"select user_id, window(event_time, '1 minute').start as window_start, {FIGURES} from lake group by user_id, window(event_time, '1 minute')",
    # Counting by minute first, as the others do, costs it more.
    "hops": """select user_id, window(event_time, '5 minutes', '1 minute').start as window_start, count(*) as events from lake
        group by user_id, window(event_time, '5 minutes', '1 minute')""",
    "sessions": """select user_id, session_window.start as window_start, session_window.end as window_end, count(*) as events, sum(amount) as revenue
        from lake group by user_id, session_window(event_time, '30 seconds')""",
}
STREAM = {work: BATCH[work] for work in ("pages", "hops", "sessions")}
SETTINGS = {
    "spark.driver.memory": "6g",
    "spark.sql.shuffle.partitions": THREADS,
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def batch(bench, work, log, out, warm_up=WARM_UP):
    return run(bench, "batch", work, log.lake, out, warm_up)


def stream(bench, work, log, out, warm_up=WARM_UP, events_per_batch=0):
    return run(bench, "stream", work, f"{bench.brokers}/{log.topic}", out or "", warm_up, events_per_batch)


def run(bench, *asked):
    """Runs this module as a program, which measures itself: Python does not wait for the JVM at its end."""
    jars = bench.path("peers", "spark", "jars", "*")
    log = bench.path("spark.log")
    measure.whole(bench.module(__name__, jars, bench.path("spark"), *asked), log)
    with open(log) as text:
        costs = [json.loads(line) for line in text if line.startswith('{"cpu_s"')]
    return {"cold": measure.Cost(**costs[0]), "warm": measure.Cost(**costs[-1])}


def main(jars, folder, mode, work, source, out, warm_up, events_per_batch=0):
    import glob, os, shutil
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{THREADS}]").config("spark.jars", ",".join(glob.glob(jars)))
    builder.config("spark.local.dir", folder)
    for name, value in SETTINGS.items():
        builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    began_wall, began_cpu = None, 0
    for _ in range(1 + int(warm_up)):
        shutil.rmtree(f"{folder}/checkpoint", ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        (batch_job if mode == "batch" else stream_job)(spark, work, source, out, folder, int(events_per_batch))
        pids = measure.tree(os.getpid())
        cpu, wall = measure.cpu_s(pids), time.time()
        print(json.dumps({"cpu_s": cpu - began_cpu, "wall_s": wall - (began_wall or measure.started(os.getpid())), "peak_mib": measure.peak_mib(pids)}), flush=True)
        began_wall, began_cpu = wall, cpu
    spark.stop()


def batch_job(spark, work, lake, out, *_):
    spark.read.parquet(lake).createOrReplaceTempView("lake")
    spark.sql(BATCH[work]).write.mode("overwrite").parquet(out)


def stream_job(spark, work, source, out, folder, events_per_batch):
    brokers, topic = source.split("/")
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", brokers).option("subscribe", topic)
    reader.option("startingOffsets", "earliest")
    if events_per_batch:
        reader.option("maxOffsetsPerTrigger", events_per_batch)
    values = reader.load().selectExpr("from_json(cast(value as string), 'user_id bigint, page string, amount double, event_time timestamp') as v")
    values.select("v.*").withWatermark("event_time", "30 seconds").createOrReplaceTempView("lake")
    writer = spark.sql(STREAM[work]).writeStream.outputMode("append").trigger(availableNow=True).option("checkpointLocation", f"{folder}/checkpoint")
    (writer.format("parquet").option("path", out) if out else writer.format("noop")).start().awaitTermination()


if __name__ == "__main__":
    main(*sys.argv[1:])
