#!/usr/bin/env python3
"""Compares every function that has a DuckDB spelling with DuckDB, over a grid of arguments.

    python3 tests/oracle/functions.py SAMESTREAM

SAMESTREAM is the program. The functions come from `samestream functions --format json`; the arguments from GRID below: for each
function lists of columns and literals. The rows go into a journal, a generated pipeline has a step for each call, and the
same rows and calls go to DuckDB. A row that fails here must be an error or null there, and the other way round; floats are
equal to the bit, or for functions that no standard rounds (LOOSE) to twelve digits. Where the table says that results differ
("differs"), a grid may leave out the rows that it is about by a condition, which is counted and shown.
"""
import base64, datetime, json, math, os, random, re, subprocess, sys, tempfile
import duckdb  # and pytz, for its times with zones

program = os.path.abspath(sys.argv[1])
INF, NAN = math.inf, math.nan
UNITS = "microsecond millisecond second minute hour day week month quarter year isoyear decade century millennium".split()
PARTS = ("year isoyear quarter month week day dow isodow doy hour minute second millisecond microsecond epoch "
         "millennium century decade").split()

# Columns: type here, type in DuckDB, values.
TEXTS = ["", "a", "abc", "Hello World", "día", "a,b,,c", "  pad  ", "ABC", "ünïcödé", "50% off", "a_b", "c3b1", "x-y z", "aXbX", "12",
         "-7", "/cart/17", "aaa", "a.b", "été", "ZMOtYQ==", "%41+b", "https://me@shop.example:8443/a?b=1#c", "Straße", "ǅ", "0"]
COLUMNS = {
    "t1": ("string", "VARCHAR", TEXTS),
    "t2": ("string", "VARCHAR", ["", "a", "b", ",", "o", "/", "ab", "é", " ", "aa", "X", "abc", "World", "A"]),
    "t3": ("string", "VARCHAR", ["x", "", "yz", "ñ", "aa"]),
    "p1": ("string", "VARCHAR", ["%a%", "a%", "_", "%", "", "A%", "%é%", "a_c", "%,%", "_%_", "50%"]),
    "r1": ("string", "VARCHAR", ["a", "^a", "[a-c]+", "b|c", "(a)(b)?", "o.W", "^$", "X", "a*", "[^a]", "\\.", "a{2}", "(?i)abc", "z"]),
    "i1": ("int64", "BIGINT", [0, 1, -1, 2, 3, -3, 5, 7, 12]),
    "i2": ("int64", "BIGINT", [0, 1, -1, 2, -7, 255, 1000, 2**31, 2**62, 2**63 - 1, -2**63 + 1, 86_400, 15, 241]),
    "i3": ("int64", "BIGINT", [1, 2, 3, 6, 29, 30, 31, 12, 13, 0, 59, 60]),
    "y1": ("int64", "BIGINT", [1970, 2024, 2023, 1900, 2000, 1, 9999]),
    "x1": ("float64", "DOUBLE", [0.0, 1.0, -1.5, 0.1, 2.5, -2.5, 1e300, 1e-300, NAN, INF, -INF, 0.5, 3.7, 100.0, -0.25, 8.0, 1e15]),
    "x2": ("float64", "DOUBLE", [0.0, 1.0, 2.0, -3.0, 0.5, 10.0, NAN, INF, -1.0]),
    "s1": ("float64", "DOUBLE", [0.0, 1.5, 59.5, 30.25, 1767225600.25, -1.5]),
    "d1": ("decimal(12,3)", "DECIMAL(12,3)", ["0.000", "1.500", "-2.500", "2.345", "-0.001", "99999.999", "12.000"]),
    "d2": ("decimal(12,3)", "DECIMAL(12,3)", ["1.000", "3.000", "-0.500", "7.250"]),
    "b1": ("bool", "BOOLEAN", [True, False]),
    "b2": ("bool", "BOOLEAN", [True, False]),
    "ts1": ("timestamp", "TIMESTAMP", ["2024-02-29T12:34:56.789012Z", "1970-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z",
            "2026-01-01T00:00:00.000000Z", "2027-01-01T10:30:00.500000Z", "1999-12-31T23:59:59.000000Z", "2024-01-31T06:00:00.000000Z",
            "2024-03-31T01:30:00.000000Z", "2024-10-27T00:30:00.000000Z", "1900-02-28T00:00:01.000000Z", "2024-12-30T03:04:05.000000Z",
            "0001-03-01T00:00:00.000000Z", "2000-01-03T00:00:00.000000Z", "2024-07-15T15:45:30.250000Z"]),
    "ts2": ("timestamp", "TIMESTAMP", ["2024-02-29T00:00:00.000000Z", "2024-03-01T11:59:59.000000Z", "2023-02-28T23:00:00.000000Z",
            "1970-01-01T00:00:00.000001Z", "2025-06-30T12:00:00.000000Z", "2000-02-29T12:00:00.000000Z", "2024-01-30T06:00:00.000000Z",
            "2024-10-27T02:30:00.000000Z", "2024-03-31T02:30:00.000000Z"]),
    "da1": ("date", "DATE", ["2024-02-29", "1970-01-01", "1969-12-31", "2026-08-09", "2000-12-31", "2024-01-31"]),
    "da2": ("date", "DATE", ["2024-03-01", "2023-02-28", "1999-01-01", "2026-08-09"]),
}
JSON = ['{"a":1,"b":[1,2,3]}', '[1,2,3]', '"text"', "12.5", "true", '{"a":{"b":"x"}}', '{}', "[]", '{"b":null}']
COLUMNS["l1"] = ("list<int64>", "BIGINT[]", [[1, 2, 3], [3, 1, None, 2, 3], [], [2, 2], [None], [-7]])
COLUMNS["l2"] = ("list<int64>", "BIGINT[]", [[1], [2, 3], [], [None, 5]])
COLUMNS["j1"] = ("json", "JSON", [json.loads(text) for text in JSON])
TIME_TEXTS = ["2024-02-29 12:34:56", "2024-02-30 00:00:00", "05/Feb/2024:03:04:05 +0130", "2024-1-5 3:4:5", "x", "", "2024-02-05",
              "31.12.1999", "12:30 AM 5 February 2024", "70-01-02", "2024 366"]
COLUMNS["w1"] = ("string", "VARCHAR", TIME_TEXTS)

one = lambda *columns: [(column,) for column in columns]
numbers2 = [("i2", "i1"), ("x1", "x2"), ("d1", "d2"), ("i1", "x2")]
compared2 = numbers2 + [("t1", "t2"), ("ts1", "ts2"), ("da1", "da2"), ("b1", "b2"), ("ts1", "da2")]
units2 = [(f"'{unit}'", "ts1", "ts2") for unit in UNITS]
floats1 = one("x1", "i1", "d1")
STRFTIME = ["%Y-%m-%d %H:%M:%S.%f", "%a %A %w %u %d %-d %b %B %m %-m %y %-y", "%G %V %H %-H %I %-I %p %M %-M %S %-S %g %%", "%j %-j %U %W|%c|%x|%X"]
STRPTIME = ["%Y-%m-%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d", "%d.%m.%Y", "%I:%M %p %d %B %Y", "%y-%m-%d", "%Y %j"]

# What each function is called with. A third part of an entry is a condition of the rows that are compared.
GRID = {
    "+": numbers2, "-": numbers2, "*": [("i2", "i1"), ("x1", "x2"), ("d1", "d2")], "/": [("x1", "x2"), ("i2", "i1")],
    "%": [("i2", "i1"), ("x1", "x2"), ("d1", "d2")], "//": [("i2", "i1")], "negate": one("i2", "x1", "d1"),
    "=": compared2, "<>": compared2, "<": compared2, "<=": compared2, ">": compared2, ">=": compared2,
    "is distinct from": compared2, "is not distinct from": compared2, "is null": one("t1", "i1", "x1"), "is not null": one("t1", "i1"),
    "between": [("i1", "i2", "i3"), ("x1", "x2", "s1"), ("t1", "t2", "t3"), ("ts1", "ts2", "da1")],
    "in": [("i1", "i2", "i3", "7"), ("x1", "x2", "0.5"), ("t1", "t2", "t3", "'a'")],
    "and": [("b1", "b2", "i1 > 0")], "or": [("b1", "b2", "i1 > 0")], "not": one("b1"),
    "case": [("b1", "t1", "t2"), ("b1", "i1", "b2", "i2", "i3")], "coalesce": [("t1", "t2", "t3"), ("i1", "x1", "0")],
    "nullif": [("i1", "i3"), ("x1", "x2"), ("t1", "t2")], "if": [("b1", "t1", "t2"), ("i1 > 1", "i1", "x1")], "nvl2": [("t1", "i1", "i2")],
    "cast": [("t1", "int64"), ("t1", "float64"), ("i2", "float64"), ("i2", "string"), ("i2", "decimal(12,2)"), ("d1", "float64"),
             ("d1", "string"), ("ts1", "date"), ("da1", "timestamp"), ("i2", "int32"), ("i2", "bool"), ("b1", "int64"), ("b1", "string")],
    "try_cast": [("t1", "int64"), ("t1", "float64"), ("w1", "timestamp"), ("w1", "date")],
    "like": [("t1", "p1"), ("t1", "'50!%%'", "'!'")], "ilike": [("t1", "p1"), ("t1", "'A!_%'", "'!'")],
    "regexp_matches": [("t1", "r1"), ("t1", "'ABC'", "'i'"), ("t1", "'o.w'", "'is'")],
    "regexp_full_match": [("t1", "r1"), ("t1", "'a.*'", "'i'")],
    "regexp_replace": [("t1", "r1", "t3"), ("t1", "r1", "t3", "'g'"), ("t1", "'(.)(.)'", "'\\2-\\1\\\\\\0'"), ("t1", "'(.)(.)'", "'\\2\\1'", "'g'")],
    "regexp_extract": [("t1", "r1"), ("t1", "r1", "0"), ("t1", "'(.)(X)?'", "2"), ("t1", "'(B).'", "1", "'i'")],
    "regexp_count": [("t1", "r1"), ("t1", "''")], "regexp_escape": [("t1",)],
    "lower": one("t1"), "upper": one("t1"), "length": one("t1"), "substr": [("t1", "i1"), ("t1", "i1", "i3")],
    "concat": [("t1", "t2", "t3"), ("t1", "i2"), ("b1", "t1")], "concat_ws": [("t3", "t1", "t2"), ("'-'", "t1", "i1", "b1")],
    "trim": [("t1",), ("t1", "t2")], "ltrim": [("t1",), ("t1", "t2")], "rtrim": [("t1",), ("t1", "t2")],
    "replace": [("t1", "t2", "t3")], "starts_with": [("t1", "t2")], "ends_with": [("t1", "t2")], "contains": [("t1", "t2")],
    "left": [("t1", "i1")], "right": [("t1", "i1")], "strpos": [("t1", "t2")], "split_part": [("t1", "t2", "i1")],
    "ascii": one("t1"), "chr": [("i2",), ("i3",)], "lpad": [("t1", "i3", "t3"), ("t1", "i1", "t3")], "rpad": [("t1", "i3", "t3")],
    "repeat": [("t1", "i1")], "reverse": one("t1"), "overlay": [("t1", "t3", "i1", "i3"), ("t1", "t3", "i3")],
    "translate": [("t1", "t2", "t3"), ("t1", "'abcaé'", "'xy'")],
    "levenshtein": [("t1", "t2")], "damerau_levenshtein": [("t1", "t2")], "hamming": [("t1", "t2")], "jaccard": [("t1", "t2")],
    "octet_length": one("t1"), "bit_length": one("t1"), "hex": one("t1", "i2"), "unhex": one("t1"), "bin": one("i2"),
    "to_base64": one("t1"), "from_base64": one("t1"), "encode": one("t1"), "decode": [("encode(t1)",)],
    "url_encode": one("t1"), "url_decode": one("t1"),
    "md5": one("t1", "encode(t1)"), "sha1": one("t1"), "sha256": one("t1"),
    "date_trunc": [(f"'{unit}'", "ts1") for unit in UNITS], "extract": [(f"'{part}'", "ts1") for part in PARTS],
    "add_interval": [("ts1", "i2")], "add_months": [("ts1", "i1"), ("ts1", "i3 * 5")], "add_days": [("da1", "i1"), ("da1", "i3 * 100")],
    "timestampadd": [(f"'{unit}'", "i1", "ts1") for unit in UNITS if unit != "isoyear"],
    "date_diff": units2, "timestampdiff": units2,
    "time_bucket": [("'5 minutes'", "ts1"), ("'7 days'", "ts1"), ("'3 hours'", "ts1", "ts2"), ("'1 month'", "ts1"), ("'5 months'", "ts1"),
                    ("'1 year'", "ts1"), ("'2 months'", "ts1", "ts2"), ("'36 hours'", "ts1")],
    "strftime": [("ts1", f"'{format}'") for format in STRFTIME], "strptime": [("w1", f"'{format}'") for format in STRPTIME],
    "try_strptime": [("w1", f"'{format}'") for format in STRPTIME],
    "timezone": [(f"'{zone}'", "ts1") for zone in ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"]],
    "to_utc": [(f"'{zone}'", ts) for zone in ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"] for ts in ["ts1", "ts2"]],
    "make_date": [("y1", "i3", "i3"), ("y1", "2", "i3")], "make_timestamp": [("i2",), ("y1", "i3", "i3", "i1", "i3", "s1")],
    "make_timestamp_ms": one("i2"), "to_timestamp": one("s1", "i3"),
    "abs": one("i2", "x1", "d1"), "round": [("x1",), ("d1",), ("x1", "2"), ("d1", "2"), ("d1", "1"), ("i2",)],
    "floor": one("x1", "d1"), "ceil": one("x1", "d1"), "power": [("x1", "x2"), ("i1", "i3")], "log": [("x2", "x1")], "atan2": [("x1", "x2")],
    "sign": one("i2", "x1", "d1"), "trunc": [("x1",), ("d1",), ("x1", "1"), ("d1", "2")],
    "pi": [()], "gcd": [("i2", "i3"), ("i2", "i1")], "lcm": [("i3", "i1"), ("i2", "i3")], "factorial": one("i1", "i3"),
    "&": [("i2", "i3")], "|": [("i2", "i3")], "xor": [("i2", "i3")], "~": one("i2"), "<<": [("i2", "i3")], ">>": [("i2", "i3")],
    "bit_count": one("i2"),
}
for name in "sqrt ln exp log10 log2 cbrt even sin cos tan cot asin acos atan sinh cosh tanh asinh acosh atanh degrees radians gamma lgamma isnan isinf isfinite".split():
    GRID[name] = floats1
for name in ("year quarter month week yearweek isoyear day dayofweek isodow dayofyear hour minute second millisecond microsecond decade century "
             "millennium dayname monthname last_day epoch epoch_ns epoch_us epoch_ms").split():
    # DuckDB gives up on a whole column for one time that has no nanoseconds.
    GRID[name] = one("ts2" if name == "epoch_ns" else "ts1")

GRID |= {
    "list_value": [("i1", "i2", "null"), ("t1", "t2")], "list_element": [("l1", "i1")], "list_length": one("l1"),
    "list_contains": [("l1", "i1")], "list_position": [("l1", "i1")], "list_slice": [("l1", "i1", "i3"), ("l1", "2", "i1")],
    "list_sort": one("l1"), "list_reverse_sort": one("l1"), "list_reverse": one("l1"),
    "list_min": one("l1"), "list_max": one("l1"), "list_sum": one("l1"), "flatten": [("[l1, l2]",)],
    "string_split": [("t1", "t2"), ("t1", "','")], "array_to_string": [("string_split(t1, ',')", "'-'")],
    "range": [("i1", "i3", "1"), ("i1", "i3", "2")],
    "struct_pack": [("'a'", "i1", "'b'", "t1")], "struct_extract": [("{'a': i1, 'b': t1}", "'b'")],
    "->": [("j1", "'$.a'"), ("j1", "'b'"), ("j1", "1")], "->>": [("j1", "'$.a'"), ("j1", "'b'"), ("j1", "1")],
    "json_exists": [("j1", "'$.a'"), ("j1", "'$.b[1]'")],
    "json_array_length": one("j1"), "json_keys": one("j1"), "json_valid": one("t1"), "to_json": one("t1", "l1", "i1"),
}

# Functions whose last digits no standard rounds.
LOOSE = set("ln exp power log log10 log2 cbrt sin cos tan cot asin acos atan atan2 sinh cosh tanh asinh acosh atanh gamma lgamma degrees "
            "radians trunc round jaccard %".split())
ASCII = "regexp_full_match({0}, '[ -~]*') and regexp_full_match({1}, '[ -~]*')"
# Rows that a documented difference is about, by function or call: the condition of those that are compared.
ONLY = {
    "try_cast": "not regexp_matches({0}, '(^\\d\\d-)|(-\\d[- ])')",
    "regexp_count": "not regexp_full_match('', {1})",
    "regexp_escape": "regexp_full_match({0}, '[^ -~]*([\\w.+*?()|\\[\\]{}^$#&~\\\\-][^ -~]*)*')",
    "upper": "strpos({0}, 'ß') = 0",
    "substr": "{1} >= -length({0})",
    "overlay": "{2} >= 1",
    "levenshtein": ASCII,
    "damerau_levenshtein": ASCII,
    "hamming": ASCII + " and {0} <> ''",
    "jaccard": ASCII,
    "date_diff": "{0} <> 'week'",
    "list_position": "{1} is not null",
    "string_split": "{1} is not null and {0} || {1} <> ''",
    "<<": "{0} >= 0",
    "try_cast(w1 as date)": "length({0}) <= 10 and not regexp_matches({0}, '(^\\d\\d-)|(-\\d[- ])')",
    "add_interval": "abs({1}) < 9e18",
    "make_timestamp(i2)": "abs({0}) < 9e18",
    "epoch_ms": "{0} >= '1970-01-01'",
    "factorial": "{0} <= 20",
    ">>": "{1} < 64",
}
TYPES = {"int64": "BIGINT", "int32": "INTEGER", "float64": "DOUBLE", "string": "VARCHAR", "bool": "BOOLEAN"}


def fill(template, arguments, type_name=""):
    """Puts arguments into a template of the table; see `display` in the engine."""
    def place(match):
        text = match.group(1)
        digits = re.match(r"\d*", text).group()
        index, rest = int(digits or 0), text[len(digits):]
        if rest == "type":
            return type_name
        if rest == "case":
            *branches, otherwise = arguments
            pairs = zip(branches[::2], branches[1::2])
            return "case " + " ".join(f"when {when} then {then}" for when, then in pairs) + f" else {otherwise} end"
        if rest == "struct":
            pairs = zip(arguments[::2], arguments[1::2])
            return "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
        if rest == "!":
            return arguments[index].strip("'")
        if rest.startswith("?"):
            return rest[1:] + arguments[index] if index < len(arguments) else ""
        if rest.startswith("*"):
            return rest[1:].join(arguments[index:])
        return arguments[index]
    return re.sub(r"\{(\d*[^}0-9]?[^}]*)\}", place, template)


def rows():
    """Draws rows that are the same in every run; a tenth of the values is null."""
    draw = random.Random(7)
    for _ in range(700):
        yield {name: None if draw.random() < 0.1 else draw.choice(values) for name, (_, _, values) in COLUMNS.items()}


def json_value(value):
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def microseconds(text):
    """Reads our text of a timestamp or date, whose year may be of any length."""
    year, month, day, rest = re.fullmatch(r"([+-]?\d+)-(\d\d)-(\d\d)(.*)", text).groups()
    year, month = int(year), int(month)
    eras = (year - 1600) // 400
    days = datetime.date(year - 400 * eras, month, int(day)).toordinal() - datetime.date(1970, 1, 1).toordinal() + 146_097 * eras
    hour, minute, second, fraction = re.fullmatch(r"T(\d\d):(\d\d):(\d\d)\.(\d{6})Z", rest).groups() if rest else (0, 0, 0, 0)
    return (((days * 24 + int(hour)) * 60 + int(minute)) * 60 + int(second)) * 1_000_000 + int(fraction)


def ours(text, theirs, is_time):
    """Returns a value of our JSON as the type of DuckDB's."""
    if text is None or isinstance(text, bool):
        return text
    if is_time:
        return microseconds(text)
    if isinstance(theirs, float):
        return float(text) if not isinstance(text, (list, dict)) else text
    if isinstance(theirs, (bytes, bytearray)):
        return base64.b64decode(text)
    return text


def plain(value):
    """Returns DuckDB's value as one that Python compares."""
    if type(value).__name__ == "Decimal":
        return format(value, "f")
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def same(a, b, loose):
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(map(lambda x, y: same(x, y, loose), a, b))
    if a is None or b is None:
        return a is None and b is None
    if isinstance(b, float) and isinstance(a, (int, float)) and not isinstance(a, bool):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or (loose and math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-300))
    return a == b


functions = json.loads(subprocess.run([program, "functions", "--format", "json"], check=True, capture_output=True, text=True).stdout)
table = {function["name"]: function for function in functions}
missing = [function["name"] for function in functions if function["duckdb"] and function["name"] not in GRID and function["name"] not in ("typeof",)]
assert not missing, f"these have a DuckDB spelling and no grid: {missing}"
unknown = [name for name in GRID if name not in table]
assert not unknown, f"these grids are of no function: {unknown}"

calls = []
for name, lists in GRID.items():
    function = table[name]
    assert function["duckdb"], f"`{name}` has a grid and no DuckDB spelling"
    for arguments in lists:
        here, there = list(arguments), list(arguments)
        type_here = type_there = ""
        if name in ("cast", "try_cast"):
            type_here = here.pop()
            there.pop()
            type_there = TYPES.get(type_here, type_here)
        calls.append((name, fill(function["sql"], here, type_here), fill(function["duckdb"], there, type_there), arguments))

rows = list(rows())
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute("create table rows (n BIGINT, " + ", ".join(f"{name} {column[1]}" for name, column in COLUMNS.items()) + ")")


def as_duckdb(name, value):
    if COLUMNS[name][0] == "json" and value is not None:
        return json.dumps(value)
    is_time = isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", value)
    return value.rstrip("Z").replace("T", " ") if is_time else value


db.executemany("insert into rows values (" + ", ".join("?" * (len(COLUMNS) + 1)) + ")",
               [[n] + [as_duckdb(name, row[name]) for name in COLUMNS] for n, row in enumerate(rows)])

with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/rows.jsonl", "w") as file:
        for n, row in enumerate(rows):
            values = {name: json_value(value) for name, value in row.items()}
            file.write(json.dumps({"n": n, "at": "2026-01-01T00:00:00Z", **values}) + "\n")
    pipeline = {
        "version": 1,
        "name": "functions",
        "sources": {"rows": {
            "journal": {"path": f"{folder}/journal"},
            "format": "json",
            "schema": {"n": "int64!", "at": "timestamp!", **{name: column[0] for name, column in COLUMNS.items()}},
            "event_time": {"column": "at", "out_of_orderness": "0s"},
        }},
        "steps": {f"c{i}": {"from": "rows", "select": [{"n": "n"}, {"r": sql}]} for i, (_, sql, _, _) in enumerate(calls)},
        "sinks": {f"o{i}": {"from": f"c{i}", "jsonl": {"path": f"{folder}/out/{i}.jsonl"}} for i in range(len(calls))},
    }
    with open(f"{folder}/functions.yaml", "w") as file:
        json.dump(pipeline, file)  # JSON is YAML
    run = lambda *arguments: subprocess.run([program, *arguments], check=True, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        run("append", "journal", "rows.jsonl")
        run("run", "functions.yaml", "--mode", "batch", "--state-dir", f"{folder}/state")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
    wrong, compared, left_out, failed_rows, refused = [], 0, {}, 0, []
    for i, (name, here, there, arguments) in enumerate(calls):
        found = {}
        with open(f"{folder}/out/{i}.jsonl") as file:
            for line in file:
                row = json.loads(line)
                found[row["n"]] = row["r"]
        only = ONLY.get(here, ONLY.get(name))
        if only:
            assert table[name]["differs"], f"`{name}` leaves rows out and says nothing of a difference"
            only = fill(only, list(arguments) + ["''"])
        try:
            type_there = str(db.execute(f"select {there} from rows limit 0").description[0][1])
        except duckdb.Error as error:
            refused.append(f"{there}: {str(error).splitlines()[0]}")
            continue
        is_time, is_json = type_there.startswith(("TIMESTAMP", "DATE")), type_there == "JSON"
        there = f"epoch_us({there})" if is_time else there
        try:
            answers = db.execute(f"select n, try({there}), coalesce({only or 'true'}, true) from rows order by n").fetchall()
        except duckdb.Error as error:
            # What DuckDB cannot try is asked row by row.
            answers = []
            for n in range(len(rows)):
                try:
                    answers += db.execute(f"select n, {there}, coalesce({only or 'true'}, true) from rows where n = {n}").fetchall()
                except duckdb.Error:
                    answers.append((n, None, True))
        for n, theirs, is_compared in answers:
            if not is_compared:
                left_out[name] = left_out.get(name, 0) + 1
                continue
            theirs = json.loads(theirs) if is_json and theirs is not None else plain(theirs)
            failed_rows += n not in found
            value = ours(found.get(n), theirs, is_time)
            if theirs is None and value is not None:
                # `try` may give up on many rows because of one.
                try:
                    theirs = plain(db.execute(f"select {there} from rows where n = {n}").fetchone()[0])
                except duckdb.Error:
                    pass
                value = ours(found.get(n), theirs, is_time)
            compared += 1
            if not same(value, theirs, name in LOOSE):
                used = {column: rows[n][column] for column in COLUMNS if re.search(rf"\b{column}\b", here)}
                wrong.append((name, here, there, used, value if n in found else "failed", theirs))

print(f"{len(GRID)} functions, {len(calls)} calls, {compared:,} values compared; {failed_rows:,} rows failed here and are null or an error there")
for name, count in left_out.items():
    print(f"left out of {name}: {count:,} values; {table[name]['differs']}")
for text in refused:
    print("not understood by DuckDB:", text)
shown = {}
for name, here, there, used, value, theirs in wrong:
    shown[here] = shown.get(here, 0) + 1
    if shown[here] <= 3:
        print(f"DIFFERENT {here}   DuckDB: {there}\n  {used}: here {value!r}, there {theirs!r}")
if wrong or refused:
    sys.exit(f"{len(wrong)} values differ in {len(shown)} calls")
