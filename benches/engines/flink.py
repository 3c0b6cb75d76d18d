"""Flink: a session cluster of one JobManager and one TaskManager with two slots, asked through the SQL gateway.

Parallelism 2, object reuse on (its best setting), no checkpoints unless the rows are kept. Cold is all three JVMs from their start
to the end of the first job; warm is JobManager and TaskManager while the job runs again, without gateway and planning. The rows of a
stream go to `blackhole` when they are discarded; kept ones go to Parquet, which needs checkpoints (every 5 s).
"""
import json, os, socket, subprocess, time, urllib.error, urllib.request

import measure
from bench import THREADS
from engines import WARM_UP

PACKAGES = ["apache-flink-libraries==2.3.0"]
JARS = ["org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2", "org.apache.flink:flink-sql-parquet:2.3.0",
        "org.apache.flink:flink-sql-gateway:2.3.0", "org.apache.flink:flink-sql-gateway-api:2.3.0",
        "org.apache.hadoop:hadoop-client-api:3.3.6", "org.apache.hadoop:hadoop-client-runtime:3.3.6",
        "com.github.luben:zstd-jni:1.5.5-4"]
JARS_ALONE = True

FIGURES = "COUNT(*) AS events, SUM(amount) AS revenue, MIN(amount) AS least, MAX(amount) AS best, AVG(amount) AS mean"
FIGURE_COLUMNS = "window_start TIMESTAMP(3), events BIGINT, revenue DOUBLE, least DOUBLE, best DOUBLE, mean DOUBLE"
MINUTE = "TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))"
# The columns of the result, and the query.
STREAM = {
    "pages": (f"page STRING, {FIGURE_COLUMNS}", f"SELECT page, window_start, {FIGURES} FROM {MINUTE} GROUP BY page, window_start, window_end"),
    "hops": ("user_id BIGINT, window_start TIMESTAMP(3), events BIGINT", """SELECT user_id, window_start, COUNT(*) AS events
        FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(event_time), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)) GROUP BY user_id, window_start, window_end"""),
    "sessions": ("user_id BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), events BIGINT, revenue DOUBLE",
        """SELECT user_id, window_start, window_end, COUNT(*) AS events, SUM(amount) AS revenue
        FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(event_time), INTERVAL '30' SECOND)) GROUP BY user_id, window_start, window_end"""),
}
BATCH = {
    "pages": STREAM["pages"],
    "users": (f"user_id BIGINT, {FIGURE_COLUMNS}", f"SELECT user_id, window_start, {FIGURES} FROM {MINUTE} GROUP BY user_id, window_start, window_end"),
    # Counting by minute first, as the others do, costs it more.
    "hops": STREAM["hops"],
    # Its own session windows are refused in batch.
    "sessions": (STREAM["sessions"][0], """WITH clicks_at AS (SELECT user_id, amount, CAST(event_time AS TIMESTAMP(6)) AS event_time FROM clicks),
        begun AS (SELECT user_id, event_time, amount,
            CASE WHEN event_time < LAG(event_time) OVER w + INTERVAL '30' SECOND THEN 0 ELSE 1 END AS is_new
            FROM clicks_at WINDOW w AS (PARTITION BY user_id ORDER BY event_time)),
        numbered AS (SELECT *, SUM(is_new) OVER (PARTITION BY user_id ORDER BY event_time ROWS UNBOUNDED PRECEDING) AS session FROM begun)
        SELECT user_id, CAST(MIN(event_time) AS TIMESTAMP(3)), CAST(MAX(event_time) + INTERVAL '30' SECOND AS TIMESTAMP(3)), COUNT(*) AS events,
            SUM(amount) AS revenue FROM numbered GROUP BY user_id, session"""),
}
COLUMNS = "user_id BIGINT, page STRING, amount DOUBLE, event_time TIMESTAMP_LTZ({})"
LAKE = f"CREATE TEMPORARY TABLE clicks ({COLUMNS.format(6)}) WITH ('connector' = 'filesystem', 'path' = 'file://{{lake}}', 'format' = 'parquet')"
TOPIC = f"""CREATE TEMPORARY TABLE clicks ({COLUMNS.format(3)}, WATERMARK FOR event_time AS event_time - INTERVAL '30' SECOND)
    WITH ('connector' = 'kafka', 'topic' = '{{topic}}', 'properties.bootstrap.servers' = '{{brokers}}', 'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')"""
FILES = "'connector' = 'filesystem', 'path' = 'file://{out}', 'format' = 'parquet', 'parquet.compression' = 'ZSTD', 'parquet.compression.codec.zstd.level' = '1'"

# As in Flink's own default configuration for Java 17.
OPENS = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in (
    "java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks")]
CONFIGURATION = """
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 1g
rest.address: localhost
rest.bind-address: localhost
rest.port: {rest}
sql-gateway.endpoint.rest.address: localhost
sql-gateway.endpoint.rest.port: {gateway}
execution.target: remote
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: {threads}
taskmanager.cpu.cores: {threads}
taskmanager.memory.task.heap.size: 2500m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 1200m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
parallelism.default: {threads}
pipeline.object-reuse: true
io.tmp.dirs: {folder}
execution.batch.adaptive.auto-parallelism.enabled: false
table.local-time-zone: UTC
"""
LOGGING = """status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss} %p %m (%c{1})%n
"""
PROCESSES = {
    "jobmanager": ("org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", ["-Xmx768m"]),
    "taskmanager": ("org.apache.flink.runtime.taskexecutor.TaskManagerRunner", ["-Xms2628m", "-Xmx2628m", "-XX:MaxDirectMemorySize=384m", "-XX:+UseG1GC"]),
    "gateway": ("org.apache.flink.table.gateway.SqlGateway", ["-Xmx768m"]),
}


def batch(bench, work, log, out, warm_up=WARM_UP):
    columns, query = BATCH[work]
    return run(bench, LAKE.format(lake=log.lake), columns, query, out, {"execution.runtime-mode": "batch"}, warm_up)


def stream(bench, work, log, out, warm_up=WARM_UP):
    columns, query = STREAM[work]
    settings = {"execution.runtime-mode": "streaming", **({"execution.checkpointing.interval": "5 s"} if out else {})}
    return run(bench, TOPIC.format(topic=log.topic, brokers=bench.brokers), columns, query, out, settings, warm_up)


def run(bench, source, columns, query, out, settings, warm_up):
    sink = FILES.format(out=out) if out else "'connector' = 'blackhole'"
    statements = [source, f"CREATE TEMPORARY TABLE answer ({columns}) WITH ({sink})"]
    with Cluster(bench) as cluster:
        costs = []
        for _ in range(1 + warm_up):
            if out:
                bench.empty(out)
            costs.append(cluster.job(statements, f"INSERT INTO answer {query}", settings))
    return {"cold": costs[0], "warm": costs[-1]}


class Cluster:
    """JobManager, TaskManager and SQL gateway, each a JVM of its own, from `with` to its end."""

    def __init__(self, bench):
        self.folder = bench.empty("flink")
        self.libraries = f"{bench.packages('pyflink')}/lib/*:{bench.path('peers', 'flink', 'jars')}/*"
        self.ports = dict(zip(("rpc", "rest", "gateway"), free_ports(3)))
        self.processes, self.is_new = {}, True

    def __enter__(self):
        os.makedirs(self.folder)
        for name, text in {"config.yaml": CONFIGURATION.format(folder=self.folder, threads=THREADS, **self.ports), "log4j.properties": LOGGING}.items():
            with open(f"{self.folder}/{name}", "w") as file:
                file.write(text)
        self.began = time.monotonic()
        for name, (entry, memory) in PROCESSES.items():
            command = ["java", *memory, *OPENS, f"-Dlog4j2.configurationFile={self.folder}/log4j.properties", "-cp", self.libraries, entry]
            command += [] if name == "gateway" else ["--configDir", self.folder]
            with open(f"{self.folder}/{name}.log", "w") as log:
                environment = dict(os.environ, FLINK_CONF_DIR=self.folder)
                self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder)
        try:
            self.wait(lambda: self.ask("rest", "/taskmanagers")["taskmanagers"] and self.ask("gateway", "/info"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def ask(self, port, path, body=None):
        """Asks one of the two REST interfaces."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://localhost:{self.ports[port]}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait(self, is_done, seconds=1800):
        """Asks until something is so."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if is_done():
                    return
            except (OSError, KeyError) as error:
                if time.monotonic() > deadline:
                    raise self.failed(str(error))
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes.values()):
                raise self.failed("no answer in time, or a JVM has ended")
            time.sleep(0.05)

    def failed(self, why):
        with open(f"{self.folder}/failed.log", "w") as log:
            log.write(why)
        return measure.Failed(["flink"], f"{self.folder}/failed.log")

    def statement(self, session, text):
        """Has a statement done; returns its result."""
        operation = self.ask("gateway", f"/sessions/{session}/statements", {"statement": text})["operationHandle"]
        path = f"/sessions/{session}/operations/{operation}"
        self.wait(lambda: self.ask("gateway", f"{path}/status")["status"] in ("FINISHED", "ERROR"))
        try:
            return self.ask("gateway", f"{path}/result/0?rowFormat=JSON")
        except urllib.error.HTTPError as error:
            raise self.failed(f"{text}\n{causes(error.read().decode())}")

    def job(self, statements, insert, settings):
        """Runs one job to its end; returns what it cost, and if it is the first, what it cost to begin."""
        session = self.ask("gateway", "/sessions", {"properties": settings})["sessionHandle"]
        for text in statements:
            self.statement(session, text)
        cluster = [self.processes[name].pid for name in ("jobmanager", "taskmanager")]
        everything = [process.pid for process in self.processes.values()]
        before = measure.cpu_s(cluster)
        result = self.statement(session, insert)
        job = result.get("jobID") or result["results"]["data"][0]["fields"][0]
        state = {}
        self.wait(lambda: state.update(self.ask("rest", f"/jobs/{job}")) or state["state"] in ("FINISHED", "FAILED", "CANCELED"))
        if state["state"] != "FINISHED":
            raise self.failed(causes(json.dumps(self.ask("rest", f"/jobs/{job}/exceptions"))))
        is_first, self.is_new = self.is_new, False
        if is_first:
            return measure.Cost(measure.cpu_s(everything), time.monotonic() - self.began, measure.peak_mib(everything))
        return measure.Cost(measure.cpu_s(cluster) - before, state["duration"] / 1000, measure.peak_mib(cluster))


def causes(answer):
    """Returns what a stack trace within JSON says, without the places."""
    return "\n".join(line for line in answer.replace("\\n", "\n").splitlines() if line.startswith("Caused by"))


def free_ports(count):
    """Returns ports that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
