"""Firings of lines of cron on days on which clocks are put, found without croner: every minute of UTC is walked through, and
what the clocks of the zone show in it is held against the line by Python's zoneinfo. Writes what the test in
crates/engine/src/schedule.rs reads:

    python3 tests/oracle/firings.py > crates/engine/src/schedule/firings.txt

The rule, as docs/schedules.md has it: a line with one hour and one minute names a time of the day. If the clocks leave it out, it
is fired at the first minute after the gap; if they show it twice, the first time. Any other line fires in every minute whose time
on the clock it names."""
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

# Zone, the moment at which clocks are put (UTC, for people who read this), and around it how many days before and after.
CASES = [
    ("Europe/Berlin", "2025-03-30T01:00", "forward at 02:00"),
    ("Europe/Berlin", "2025-10-26T01:00", "back at 03:00"),
    ("America/New_York", "2026-03-08T07:00", "forward at 02:00"),
    ("America/New_York", "2026-11-01T06:00", "back at 02:00"),
    ("Australia/Lord_Howe", "2025-10-04T15:30", "forward by half an hour at 02:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00", "back by half an hour at 02:00"),
    ("America/Havana", "2026-03-08T05:00", "forward at midnight"),
    ("America/Havana", "2026-11-01T05:00", "back at 01:00"),
    ("Africa/Casablanca", "2026-02-15T02:00", "back at 03:00, for Ramadan"),
    ("Africa/Casablanca", "2026-03-22T02:00", "forward at 02:00, after it"),
    ("Asia/Shanghai", "2026-03-29T01:00", "never"),
]
LINES = ["30 2 * * *", "0 3 * * *", "45 1 * * *", "0 0 * * *", "*/15 1-3 * * *", "30 * * * *", "0 2,14 * * *", "15 2 * * 0", "20,40 0-2 * * *"]


def field(text, low, high):
    found = set()
    for part in text.split(","):
        part, _, step = part.partition("/")
        if part == "*":
            first, last = low, high
        else:
            first, _, last = part.partition("-")
            first, last = int(first), int(last or first)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def firings(zone, line, start, end):
    minutes, hours, days, months, weekdays = line.split()
    at = [field(minutes, 0, 59), field(hours, 0, 23), field(days, 1, 31), field(months, 1, 12), {d % 7 for d in field(weekdays, 0, 7)}]
    is_of_day = minutes.isdigit() and hours.isdigit()

    def day_fits(local):
        assert days == "*" and months == "*", "no line here names days of months"
        return local.isoweekday() % 7 in at[4]

    def fits(local):
        return local.minute in at[0] and local.hour in at[1] and day_fits(local)

    found, shown = [], set()
    now = start - timedelta(days=1)
    before = None
    while now <= end:
        local = now.astimezone(zone).replace(tzinfo=None, fold=0)
        fired = fits(local)
        if is_of_day:
            fired = fired and local not in shown
            shown.add(local)
            # Clocks went on by more than a minute: is the line's time among what they left out?
            if before is not None:
                left_out = before + timedelta(minutes=1)
                while left_out < local:
                    fired = fired or (fits(left_out) and day_fits(local))
                    left_out += timedelta(minutes=1)
        before = local
        if fired and start < now <= end:
            found.append(now)
        now += timedelta(minutes=1)
    return found


def text(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


print("# Made by tests/oracle/firings.py: zone | line | after | until, and the firings between.")
for name, put, what in CASES:
    put = datetime.fromisoformat(put).replace(tzinfo=timezone.utc)
    start, end = put - timedelta(hours=36), put + timedelta(hours=36)
    for line in LINES:
        print(f"\n{name} | {line} | {text(start)} | {text(end)}")
        for time in firings(ZoneInfo(name), line, start, end):
            print(text(time))
