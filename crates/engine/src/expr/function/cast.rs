//! `cast` and `try_cast`: conversions that are written out. What each pair of types does is in `expr::cast`.

use super::{Function, Kernel};
use crate::expr::cast;

pub(crate) static CAST: Function = Function {
    name: "cast",
    aliases: &[],
    help: "The value as another type; one that cannot be converted fails the row",
    signature: "(any as type) → type",
    types: |_| Err("`cast` is written `cast(x as type)`".into()),
    null_gives_null: true,
    kernel: Kernel::Rows(|call| cast::convert(call, false)),
    sql: "cast({0} as {type})",
    flink: "CAST({0} AS {type})",
    duckdb: "CAST({0} AS {type})",
    example: ("cast('12' as int64) + 1", "13"),
};

pub(crate) static TRY_CAST: Function = Function {
    name: "try_cast",
    aliases: &[],
    help: "The value as another type, or null when it cannot be converted",
    signature: "(any as type) → type",
    types: |_| Err("`try_cast` is written `try_cast(x as type)`".into()),
    null_gives_null: true,
    kernel: Kernel::Rows(|call| cast::convert(call, true)),
    sql: "try_cast({0} as {type})",
    flink: "TRY_CAST({0} AS {type})",
    duckdb: "TRY_CAST({0} AS {type})",
    example: ("coalesce(try_cast('x' as int64), -1)", "-1"),
};
