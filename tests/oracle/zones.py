"""Where days, weeks and months begin in zones whose clocks are put forward and back, by Python's zoneinfo.

A day begins at the earliest time at which its zone's clocks show its midnight or later; looked for by trying every
minute. The tables that tests of the engine (`boundaries.txt`) and the naive oracle (`zones.txt`) read were written by

    pip install tzdata==2025.2 && PYTHONTZPATH= python3 tests/oracle/zones.py --write

and without --write it fails when they are not what it computes. From 1985 on all offsets are whole minutes.
"""
import sys
from datetime import date, datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

# The version of the time-zone data that the program is built with.
assert version("tzdata") == "2025.2", version("tzdata")

ZONES = ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "America/St_Johns",
         "Australia/Lord_Howe", "Asia/Kathmandu"]
FROM, UNTIL = datetime(1985, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 1, tzinfo=timezone.utc)
# Years after the end of the tables that the program is built with, where the zones' last rules go on: the first one,
# which is no leap year though 2096 and 2104 are, a leap year at a change of century, and late ones.
LATER = [(2099, 2106), (2199, 2202), (2399, 2402), (9995, 9998)]
LATER_ZONES = ZONES + ["America/Santiago", "Africa/Casablanca", "Asia/Gaza", "Europe/Dublin", "Antarctica/Troll"]
MINUTE = timedelta(minutes=1)
ROOT = Path(__file__).resolve().parents[2]


def offset(zone, at):
    return at.astimezone(zone).utcoffset()


def transitions(zone, begin=FROM, until=UNTIL):
    """Yields (time, offset from then on), the first time being `begin`."""
    at, now = begin, offset(zone, begin)
    yield at, now
    while at < until:
        step = timedelta(days=1)
        if offset(zone, at + step) != now:
            while offset(zone, at) == now:
                at += MINUTE
            now = offset(zone, at)
            yield at, now
        else:
            at += step


def beginning(zone, day):
    """The earliest minute at which clocks show midnight of the day, or later."""
    midnight = datetime(day.year, day.month, day.day)
    at = midnight.replace(tzinfo=timezone.utc) - timedelta(hours=16)
    while at.astimezone(zone).replace(tzinfo=None) < midnight:
        at += MINUTE
    return at


def next_day(unit, day):
    if unit == "month":
        return (day + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=1 if unit == "day" else 7)


def first_day(unit, day):
    if unit == "month":
        return day.replace(day=1)
    return day if unit == "day" else day - timedelta(days=day.weekday())


def micros(at):
    return (at - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def years(begin, until):
    return datetime(begin, 1, 1, tzinfo=timezone.utc), datetime(until, 1, 1, tzinfo=timezone.utc)


def boundaries(name, begin=FROM, until=UNTIL):
    """Yields lines of units around each time at which clocks are put forward or back; of some day where there is none."""
    zone = ZoneInfo(name)
    seen = set()
    for at, _ in list(transitions(zone, begin, until))[1:] or [(begin + timedelta(days=59), None)] * (begin != FROM):
        for unit in ["day", "week", "month"]:
            for distance in [-1, 0, 1] if unit == "day" else [0]:
                first = first_day(unit, at.astimezone(zone).date() + timedelta(days=distance))
                start, end = beginning(zone, first), beginning(zone, next_day(unit, first))
                if start < end and (unit, start) not in seen:
                    seen.add((unit, start))
                    yield f"{name} {unit} {micros(start)} {micros(end)}"


def tables():
    changes = []
    for name in ZONES:
        changes.append(name)
        changes += [f"{micros(at) // 1_000_000} {int(now.total_seconds())}" for at, now in transitions(ZoneInfo(name))]
    recent = [line for name in ZONES for line in boundaries(name)]
    later = [line for name in LATER_ZONES for span in LATER for line in boundaries(name, *years(*span))]
    return {
        "crates/testkit/src/oracle/zones.txt": changes,
        "crates/engine/src/calendar/boundaries.txt": recent,
        "crates/engine/src/calendar/later.txt": later,
    }


for path, lines in tables().items():
    text = "".join(line + "\n" for line in lines)
    if "--write" in sys.argv:
        (ROOT / path).write_text(text)
    elif (ROOT / path).read_text() != text:
        sys.exit(f"{path} is not what zoneinfo says")
    print(f"{path}: {len(lines)} lines")
