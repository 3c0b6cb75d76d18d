#!/usr/bin/env python3
"""Puts a bad network between a stream and its broker, and looks for each record afterwards (`shadow.py` says how).

    python3 tests/network.py SAMESTREAM FOLDER [--trials N] [--faults NAMES] [--hold S] [--toxiproxy FILE] [--rate N] [--seed N]

Needs the broker of `tests/services/kafka.sh` (environment KAFKA_PORT), whose listener for proxies sends all that the stream says
through toxiproxy (`toxics.py` says where that comes from). With the server of `tests/services/postgres.sh`
(SAMESTREAM_TEST_POSTGRES) the rows go into a table, too, through the same network.

Each trial is one fault, in turn, that lasts about `--hold` seconds while records come; then the stream must make checkpoints
again. A stream that ends meanwhile must end with exit code 4, which says that it may be started again, and is. The records
are produced and read back beside the network, so that what is lost is not the harness's own.

The case that Jepsen found, a request to commit that arrives when the next transaction has begun, needs to know requests:
`broker_exact::a_commit_that_reaches_the_broker_late_changes_nothing` has it.
"""
import argparse, collections, os, subprocess, time
import shadow, toxics

parser = shadow.arguments(argparse.ArgumentParser())
parser.set_defaults(rate=3_000)
parser.add_argument("--trials", type=int, default=7)
parser.add_argument("--faults", help="only these, by comma")
parser.add_argument("--hold", type=float, default=6, help="seconds")
parser.add_argument("--toxiproxy")
options = parser.parse_args()
port = int(os.environ["KAFKA_PORT"])
postgres = os.environ.get("SAMESTREAM_TEST_POSTGRES")
POSTGRES_AT = f"127.0.0.1:{port + 8}"


def hold(seconds=None):
    time.sleep(options.hold * world.chance.uniform(0.7, 1.3) if seconds is None else seconds)


def latency():
    network.poison("latency", "downstream", {"latency": world.chance.randrange(0, 2500), "jitter": world.chance.randrange(0, 2500)})
    hold()


def resets():
    """Every connection is reset, again and again."""
    until = time.monotonic() + options.hold
    while time.monotonic() < until:
        network.poison("reset_peer", world.chance.choice(["upstream", "downstream"]), {"timeout": world.chance.randrange(0, 200)})
        time.sleep(0.1)
        network.heal()
        time.sleep(world.chance.uniform(0.1, 1.0))


def some_resets():
    """One of a hundred connections is reset; connections are cut short so that there are many."""
    network.poison("reset_peer", "upstream", {"timeout": 0}, 0.01)
    network.poison("limit_data", "downstream", {"bytes": world.chance.randrange(2_000, 200_000)})
    hold()


def half_open():
    """Connections stay open and nothing comes through."""
    network.poison("timeout", world.chance.choice(["upstream", "downstream"]), {"timeout": 0})
    hold()


def narrow():
    for stream in ("upstream", "downstream"):
        network.poison("bandwidth", stream, {"rate": 10})
    hold()


def slow_close():
    network.poison("slow_close", "upstream", {"delay": 3000})
    network.poison("slow_close", "downstream", {"delay": 3000})
    network.poison("limit_data", "downstream", {"bytes": world.chance.randrange(2_000, 200_000)})
    hold()


def away():
    network.cut()
    hold()


FAULTS = {fault.__name__: fault for fault in (latency, resets, some_resets, half_open, narrow, slow_close, away)}
if options.faults:
    FAULTS = {name: FAULTS[name] for name in options.faults.split(",")}

table = f"shadow_{time.time_ns()}"
sink = f'  table: {{from: shadow, postgres: {{url: "${{DATABASE_URL}}", table: {table}}}}}\n' if postgres else ""
world = shadow.World(options, seen_by_stream=f"127.0.0.1:{port + 6}", settings=", transaction_timeout: 10s", extra_sinks=sink)
proxies = {"kafka": (f"127.0.0.1:{port + 6}", f"127.0.0.1:{port + 5}")}
if postgres:
    behind = postgres.split("@")[1].split("/")[0]
    proxies["postgres"] = (POSTGRES_AT, behind)
    os.environ["DATABASE_URL"] = postgres.replace(behind, POSTGRES_AT)
    with open(os.path.join(world.folder, "cycles.yaml"), "a") as file:
        file.write("vars:\n  DATABASE_URL: {secret: true}\n")
network = toxics.Network(options.toxiproxy, port + 7, world.folder, proxies)

world.begin()
child = world.start()
world.wait_for_newer(child, 2)
longest, held = {}, {}
for trial in range(options.trials):
    name = list(FAULTS)[trial % len(FAULTS)]
    held[name] = held.get(name, 0) + 1
    time.sleep(world.chance.random())
    FAULTS[name]()
    network.heal()
    child, took = world.going_on(child, world.checkpoint(), 150, f" after `{name}`")
    longest[name] = max(longest.get(name, 0), took)
child.kill()
child.wait()


def in_table():
    """Returns what is wrong with the table."""
    query = f"select json_build_object('ids', ids) from {table} where final"
    done = subprocess.run(["psql", "-At", "-c", query, postgres], capture_output=True, text=True)
    if done.returncode != 0:
        world.fail(done.stderr)
    found = shadow.ids(collections.Counter(done.stdout.splitlines()))
    expected = shadow.ids(shadow.finals(shadow.rows(f"{world.folder}/batch/shadow_file")))
    return shadow.compare("records by id in the table", found, expected)


world.result(
    f"{options.trials} faults ({', '.join(f'{count} {name}' for name, count in held.items())}) of about {options.hold:.0f} s"
    + (", a table of PostgreSQL behind the same network" if postgres else "")
    + f"; {world.ended} times the stream ended with exit code 4 and was started again; until it went on at most "
    + ", ".join(f"{seconds:.0f} s after {name}" for name, seconds in longest.items()),
    [in_table] if postgres else [],
)
