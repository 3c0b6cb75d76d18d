#!/usr/bin/env python3
"""Takes brokers of a cluster away under a stream that writes each row once, and looks for each record afterwards (`shadow.py`
says how).

    python3 tests/nodes.py SAMESTREAM FOLDER [--kills N] [--rolls N] [--stops N --stop-for S] [--rate N] [--seed N]

Needs the cluster of `tests/services/cluster.sh` (environment SAMESTREAM_TEST_CLUSTER): three nodes, every topic on all of
them, two of which must have what is written. `--kills`: a node is ended with SIGKILL, in turn the one that leads a partition of
the source, the transaction coordinator and the group coordinator of a sink. The stream must make checkpoints without it before
it comes back. `--rolls`: all nodes are stopped and started, one after the other. `--stops`: all nodes are away for `--stop-for`
seconds. A stream that ends meanwhile must end with exit code 4, which says that it may be started again, and is.

It takes about half a minute a kill: brokers notice after nine seconds that one is gone.

Last answers (November 2026, 2 shared and busy cores): 3 kills, 137,971 records, on without the node after 8.6 s (leader), 10.1 s
(transaction coordinator) and 22.6 s (group coordinator), every record once; 200 s. `--kills 0 --rolls 2 --stops 1 --stop-for 300
--rate 1500`: 457,753 records, the stream ended once with exit code 4, every record once; 578 s.
"""
import argparse, os, re, statistics, time
import shadow

parser = shadow.arguments(argparse.ArgumentParser())
parser.set_defaults(rate=3_000)
parser.add_argument("--kills", type=int, default=3)
parser.add_argument("--rolls", type=int, default=0)
parser.add_argument("--stops", type=int, default=0)
parser.add_argument("--stop-for", type=float, default=20, help="seconds")
options = parser.parse_args()
cluster = os.environ["SAMESTREAM_TEST_CLUSTER"]
world = shadow.World(options, "cluster.sh", cluster)
NODES = [1, 2, 3]
SINK_ID = f"samestream-cycles-shadow_topic-{world.shadow_topic}"


def place_of(name, count):
    """Returns the partition of a coordinators' topic that a name belongs to, as Kafka computes it from Java's hash of a string."""
    hashed = 0
    for character in name:
        hashed = (hashed * 31 + ord(character)) & 0xFFFFFFFF
    # Signed, and its absolute value.
    return abs(hashed - (hashed >> 31 << 32)) % count


def describe():
    """Returns by topic and partition the leader, and the nodes that are in sync."""
    said = world.broker("tool", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", cluster, "--describe")
    found = re.findall(r"Topic: (\S+)\s+Partition: (\d+)\s+Leader: (\S+)\s+Replicas: \S+\s+Isr: (\S*)", said)
    number = lambda text: int(text) if text.isdigit() else None
    return {(topic, int(partition)): (number(leader), isr.split(",")) for topic, partition, leader, isr in found}


def coordinator(partitions, topic, name):
    count = sum(1 for of, _ in partitions if of == topic)
    return partitions[(topic, place_of(name, count))][0]


ROLES = {
    "leader of a partition": lambda found: found[(world.topic, world.chance.randrange(shadow.PARTITIONS))][0],
    "transaction coordinator": lambda found: coordinator(found, "__transaction_state", SINK_ID),
    "group coordinator": lambda found: coordinator(found, "__consumer_offsets", SINK_ID),
}


def whole(patience=120):
    """Waits until every partition is in sync on all nodes, and has a leader."""
    until = time.monotonic() + patience
    while True:
        found = describe()
        if found and all(leader is not None and len(isr) == len(NODES) for leader, isr in found.values()):
            return found
        if time.monotonic() > until:
            world.fail(f"the cluster does not become whole: {found}")
        time.sleep(0.5)


world.begin()
child = world.start()
world.wait_for_newer(child, 3)
# Where a coordinator is, is computed; of one of them it is asked, too. It may move meanwhile.
for tries in range(5):
    said = world.broker("tool", "org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", cluster, "describe", "--transactional-id", SINK_ID)
    asked, computed = int(re.search(r"^(\d+)\s+\S+\s+\d+", said, re.MULTILINE).group(1)), ROLES["transaction coordinator"](whole())
    if asked == computed:
        break
else:
    world.fail(f"the transaction coordinator is {asked}, not {computed}: {said}")

pauses, killed = {name: [] for name in ROLES}, {name: 0 for name in ROLES}
for trial in range(options.kills):
    role = list(ROLES)[trial % len(ROLES)]
    found = whole()
    node = ROLES[role](found)
    time.sleep(world.chance.random())
    last = world.checkpoint()
    world.broker("kill", str(node))
    killed[role] += 1
    child, took = world.going_on(child, last, 150)
    pauses[role].append(took)
    world.broker("up", str(node))
for roll in range(options.rolls):
    for node in NODES:
        whole()
        world.broker("down", str(node))
        world.broker("up", str(node))
    child, took = world.going_on(child, world.checkpoint(), 90)
for stop in range(options.stops):
    whole()
    last = world.checkpoint()
    # With SIGKILL, at once: nodes that leave in good order hand over, which the last ones cannot.
    for node in NODES:
        world.broker("kill", str(node))
    time.sleep(options.stop_for)
    world.broker("start")
    child, took = world.going_on(child, last + 1, 240)
whole()
child.kill()
child.wait()
world.result(
    f"{options.kills} kills ({', '.join(f'{count} of the {name}' for name, count in killed.items())}), {options.rolls} rolling restarts, "
    f"{options.stops} stops of all nodes for {options.stop_for:.0f} s; {world.ended} times the stream ended with exit code 4 and was started again; "
    + "until it went on without the node: "
    + ", ".join(f"{name} median {statistics.median(times):.1f} s, at most {max(times):.1f} s" for name, times in pauses.items() if times)
)
