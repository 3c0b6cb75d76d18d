"""What a run costs: CPU seconds (user and system) of a whole process tree, wall time, and peak memory."""
import os, statistics, subprocess, sys, time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    peak_mib: float


def medians(costs):
    """Returns the medians of each figure."""
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in ("cpu_s", "wall_s", "peak_mib")))


def whole(command, log, **options):
    """Runs a command to its end, what it prints going to the file `log`; returns what it cost, with the children it waited for."""
    with open(log, "w") as output:
        began = time.monotonic()
        child = subprocess.Popen(command, stdout=output, stderr=output, cwd=HERE, **options)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        raise Failed(command, log)
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)


class Failed(Exception):
    """A run that did not come to its end."""

    def __init__(self, command, log):
        with open(log, errors="replace") as text:
            tail = "".join(text.readlines()[-15:])
        super().__init__(f"{' '.join(command)[:200]} …\n{tail}({log})")


def tree(root):
    """Returns the numbers of a process and of all that descend from it, as far as they live."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(stat(int(name))[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def stat(pid):
    """Returns the fields of /proc/PID/stat after the name: state, parent, …"""
    with open(f"/proc/{pid}/stat") as text:
        return text.read().rpartition(")")[2].split()


def cpu_s(pids):
    """Returns the CPU seconds of living processes and of their children that have ended and were waited for."""
    return sum(sum(map(int, stat(pid)[11:15])) for pid in pids) / TICKS


def peak_mib(pids):
    """Returns the sum of the most memory that each process had."""
    return sum(memory_mib(pid, "VmHWM") for pid in pids)


def resident_mib(pids):
    """Returns the sum of the memory that each process has now."""
    return sum(memory_mib(pid, "VmRSS") for pid in pids)


def memory_mib(pid, name):
    with open(f"/proc/{pid}/status") as text:
        return next((int(line.split()[1]) / 1024 for line in text if line.startswith(name)), 0)


def machine():
    """Returns one line about where and when this was measured."""
    with open("/proc/cpuinfo") as text:
        model = next((line.partition(":")[2].strip() for line in text if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {os.cpu_count()} cores ({model}), {memory:.0f} GiB, load {load}, {sys.platform} {os.uname().release.partition('-')[0]}"


def started(pid):
    """Returns when a process was started, in seconds since 1970."""
    with open("/proc/uptime") as text:
        return time.time() - float(text.read().split()[0]) + int(stat(pid)[19]) / TICKS
