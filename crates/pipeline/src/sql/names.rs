//! Names of functions: which can be called, what was meant by one that cannot, and what others call ours.

use engine::aggregate;
use engine::expr::function::FUNCTIONS;
use sqlparser::ast::{Expr as Tree, FunctionArg, FunctionArgExpr, FunctionArguments, Interval};

/// Returns true for names that are called with parentheses.
pub(super) fn is_word(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !matches!(name, "and" | "or" | "not" | "in" | "between" | "like" | "ilike" | "case" | "cast" | "try_cast")
}

/// What other systems call a function, and how it is written here.
const FOREIGN: &[(&[&str], &str)] = &[
    (&["to_char", "date_format", "format_timestamp", "format_date", "format_datetime"], "`strftime(ts, '%Y-%m-%d')`"),
    (
        &["to_date", "str_to_date", "parse_date", "date"],
        "`cast(x as date)`, or `cast(strptime(x, '%d.%m.%Y') as date)`",
    ),
    (&["parse_timestamp", "parse_datetime", "date_parse", "str_to_timestamp"], "`strptime(x, '%Y-%m-%d %H:%M:%S')`"),
    (&["timestamp", "datetime", "to_timestamp_ntz"], "`cast(x as timestamp)`"),
    (&["from_unixtime", "timestamp_seconds", "unix_seconds_to_timestamp"], "`to_timestamp(seconds)`"),
    (&["timestamp_millis", "from_unixtime_millis", "to_timestamp_ltz"], "`make_timestamp_ms(milliseconds)`"),
    (&["timestamp_micros"], "`make_timestamp(microseconds)`"),
    (&["to_unix_timestamp", "unix_seconds", "to_unixtime", "unixtime"], "`epoch(ts)`"),
    (
        &["from_utc_timestamp", "convert_timezone", "convert_tz", "to_local_time"],
        "`timezone('Europe/Berlin', ts)`, or `ts at time zone 'Europe/Berlin'`",
    ),
    (&["to_utc_timestamp"], "`to_utc('Europe/Berlin', local)`"),
    (
        &["datediff_big", "age", "days_between", "timestamp_diff"],
        "`timestampdiff('day', from, to)` for whole units that have passed, or `date_diff('day', from, to)` for boundaries crossed",
    ),
    (&["months_between"], "`timestampdiff('month', from, to)`"),
    (
        &["date_sub", "datesub", "subdate", "timestamp_sub"],
        "`ts - interval '1 day'`; between two times, `timestampdiff('day', from, to)`",
    ),
    (
        &["date_add", "dateadd", "adddate", "timestamp_add"],
        "`ts + interval '1 day'`; with a column for the count, `timestampadd('day', n, ts)`",
    ),
    (&["trunc_date", "timestamp_trunc", "datetime_trunc", "toStartOfHour"], "`date_trunc('hour', ts)`"),
    (&["next_day"], "`date_trunc('week', ts) + interval '7 days'` for the Monday after"),
    (
        &["window", "tumble", "hop", "tumble_start", "tumble_end", "session_start"],
        "windows are the step's: `window: {tumbling: {size: 1m}}`; `time_bucket('5 minutes', ts)` cuts a time",
    ),
    (&["rlike", "regex", "regexp_contains", "regexp_test", "regex_match", "match"], "`regexp_matches(x, 'pattern')`"),
    (&["regexp", "similar_to"], "`regexp_matches(x, 'pattern')`, or `regexp_full_match`"),
    (
        &["regexp_extract_all", "regexp_split_to_array"],
        "`string_split(x, ',')`, or `regexp_extract(x, 'pattern', group)` for one part",
    ),
    (&["unnest", "explode"], "a step makes a row of every element: `explode: {tags: tag}`"),
    (&["row", "struct", "named_struct", "json_object", "object_construct"], "`{'a': 1, 'b': 2}`, `to_json(…)` of it"),
    (&["array_construct", "list"], "`[1, 2]`"),
    (&["parse_json", "json", "from_json", "json_parse"], "`cast(x as json)`, `cast(x as struct<a: int64>)`"),
    (&["get_json_object", "json_query", "json_extract_scalar"], "`j -> '$.a.b'`, or `j ->> '$.a.b'` for text"),
    (&["locate", "charindex", "find", "position"], "`strpos(text, part)`, or `position(part in text)`"),
    (&["split_index", "split_by"], "`split_part(x, ',', n)`, which counts from 1"),
    (&["substring_index"], "`split_part(x, ',', n)`"),
    (&["mid"], "`substr(x, start, length)`"),
    (&["unicode", "ord"], "`ascii(x)`"),
    (&["char", "nchar"], "`chr(n)`"),
    (&["is_digit", "isdigit", "is_decimal", "is_alpha", "isalpha"], "`regexp_full_match(x, '\\d+')`"),
    (&["soundex", "difference", "metaphone"], "`levenshtein(a, b)`"),
    (&["edit_distance", "editdist3"], "`levenshtein(a, b)`"),
    (&["format", "printf", "format_string"], "`concat(…)` or `a || b`"),
    (&["space"], "`repeat(' ', n)`"),
    (&["parse_host", "domain", "host", "net_host"], "`url_extract_host(x)`"),
    (&["urlencode", "encodeuricomponent", "uri_encode"], "`url_encode(x)`"),
    (&["urldecode", "decodeuricomponent", "uri_decode"], "`url_decode(x)`"),
    (&["sha", "sha_1"], "`sha1(x)`"),
    (&["sha2", "digest"], "`sha256(x)`, or `sha224`, `sha384`, `sha512`"),
    (
        &["hash", "xxhash64", "xxh64", "murmur_hash", "farm_fingerprint", "hash_code", "cityhash64"],
        "`xxh3_64(x)`, whose algorithm is stated",
    ),
    (&["filter"], "rows are kept by `where`, and for one aggregate by `count(*) filter (where …)`"),
    (&["median"], "`quantile(x, 0.5)`"),
    (
        &["percentile", "percentile_cont", "percentile_disc", "quantile_cont", "quantile_disc"],
        "`quantile(x, 0.5)`, which is exact",
    ),
    (
        &["approx_percentile", "percentile_approx", "approx_median", "approx_quantiles", "tdigest", "kll"],
        "`approx_quantile(x, 0.5)`, or `quantile(x, 0.5)`, which is exact",
    ),
    (
        &["approx_distinct", "approx_unique", "hll_count", "ndv", "uniq", "count_approx_distinct"],
        "`approx_count_distinct(x)`, or `count_distinct(x)`, which is exact",
    ),
    (
        &[
            "string_agg",
            "listagg",
            "group_concat",
            "collect",
            "collect_list",
            "collect_set",
            "list_agg",
            "json_arrayagg",
        ],
        "`array_agg(x)`; a step after makes a text of it: `array_to_string(list, ',')`",
    ),
    (&["stddev", "stdev", "std"], "`stddev_samp(x)`, or `stddev_pop(x)`"),
    (&["variance", "var"], "`var_samp(x)`, or `var_pop(x)`"),
    (&["first_value", "earliest", "any_value", "arbitrary"], "`first(x)`, by event time"),
    (&["last_value", "latest", "nth_value"], "`last(x)`, by event time"),
    (&["max_by", "argmax"], "`arg_max(x, by)`"),
    (&["min_by", "argmin"], "`arg_min(x, by)`"),
    (
        &["count_if", "countif", "sum_if", "sumif", "avg_if"],
        "any aggregate takes a condition: `count(*) filter (where x > 1)`",
    ),
    (&["bool_and_agg", "logical_and", "every"], "`bool_and(x)`"),
    (&["logical_or", "some"], "`bool_or(x)`"),
    (
        &["mode", "most_frequent", "top_k", "topk", "approx_top_k"],
        "count per value, and take the first: `group_by: [x]`, `aggregate: {n: \"count(*)\"}`, `top: {n: 1, by: [{n: desc}]}`",
    ),
    (&["zeroifnull", "nvl3", "isnull"], "`coalesce(x, 0)`, or `x is null`"),
    (&["choose", "elt", "decode_case"], "`case x when 1 then … end`"),
    (&["try_divide", "safe_divide", "div0"], "`a / nullif(b, 0)`"),
    (&["safe_cast", "try_to_number", "to_number"], "`try_cast(x as decimal(18,2))`"),
    (&["log1p"], "`ln(1 + x)`"),
    (&["expm1"], "`exp(x) - 1`"),
    (&["rint", "bround", "round_even"], "`round(x)`, halves away from zero"),
    (&["sgn", "signum"], "`sign(x)`"),
    (&["fmod", "modulo"], "`a % b`"),
    (&["div", "int_div", "divide"], "`a // b`"),
    (&["bitand", "bitwise_and"], "`a & b`"),
    (&["bitor", "bitwise_or"], "`a | b`"),
    (&["bitxor", "bitwise_xor"], "`xor(a, b)`"),
    (&["bitnot", "bitwise_not"], "`~ a`"),
    (&["shiftleft", "shift_left", "lshift"], "`a << n`"),
    (&["shiftright", "shift_right", "rshift"], "`a >> n`"),
    (&["size", "array_size"], "`list_length(x)`; `length(x)` for text"),
    (
        &["row_number", "rank", "dense_rank", "lag", "lead", "ntile"],
        "rows are ordered and cut by `top:` of a window step; `first`, `last` and `arg_max` take one of them",
    ),
];

/// Returns what to say about a name that is no function: what was meant, or what others call ours.
pub(crate) fn suggestion(name: &str) -> Option<String> {
    if let Some((_, ours)) = FOREIGN.iter().find(|(names, _)| names.contains(&name)) {
        return Some(format!("here: {ours}"));
    }
    let ours = FUNCTIONS.iter().flat_map(|function| std::iter::once(&function.name).chain(function.aliases).copied());
    let aggregates = aggregate::AGGREGATES.iter().map(|aggregate| aggregate.name());
    let name = nearest(name, ours.filter(|name| is_word(name)).chain(aggregates))?;
    Some(format!("did you mean `{name}`?"))
}

/// Returns the name most like the one written, if any is like it.
pub(super) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (written.chars().count().max(name.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns time, interval and direction of `date_add(ts, interval '…')` and `date_sub`.
pub(super) fn shifted<'t>(name: &str, arguments: &'t FunctionArguments) -> Option<(&'t Tree, &'t Interval, i64)> {
    let sign = match name {
        "date_add" | "dateadd" => 1,
        "date_sub" | "datesub" => -1,
        _ => return None,
    };
    let FunctionArguments::List(list) = arguments else { return None };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(ts)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Tree::Interval(interval))),
        ] => Some((ts, interval, sign)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::expr::function;

    #[test]
    fn what_others_call_ours_is_not_what_we_call_something() {
        for (names, _) in FOREIGN {
            for name in *names {
                assert!(function::find(name).is_none() && aggregate::find(name).is_none(), "`{name}` is there");
            }
        }
    }
}
