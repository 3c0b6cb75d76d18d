//! Ways into structs and lists, and structs written out.
//!
//! `s.a` is the field `a` of the column `s`, unless there is a column whose whole name is `s.a`: the longest name that is a
//! column is taken, the rest are fields. In quotes, `"s.a"` is never anything but a column.

use engine::expr::{Expr, Literal};
use engine::{Code, DataType};
use sqlparser::ast::{self, AccessExpr, Expr as Tree, FunctionArg, FunctionArgExpr, Subscript};

use super::SqlError;
use super::translate::{Translator, cannot};

impl Translator<'_> {
    /// Translates names with points between them.
    pub(super) fn path(&mut self, names: &[ast::Ident], tree: &Tree) -> Result<Expr, SqlError> {
        let joined = |count: usize| names[..count].iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(".");
        let known = (2..=names.len()).rev().find_map(|count| Some((self.schema.field(&joined(count))?, count)));
        let (whole, count) = match known {
            Some((field, count)) => (Expr::column(&field.name, field.data_type), count),
            None => match self.no_column_of_side(names, tree) {
                Some(error) => return Err(error),
                None => (self.column(&names[0], tree)?, 1),
            },
        };
        names[count..].iter().try_fold(whole, |whole, name| self.field(whole, &name.value, tree))
    }

    /// Translates fields and subscripts after something.
    pub(super) fn access(&mut self, root: &Tree, chain: &[AccessExpr], tree: &Tree) -> Result<Expr, SqlError> {
        let mut names = Vec::new();
        if let Tree::Identifier(name) = root {
            names.push(name.clone());
            let fields = chain.iter().map_while(|access| match access {
                AccessExpr::Dot(Tree::Identifier(name)) => Some(name.clone()),
                _ => None,
            });
            names.extend(fields);
        }
        let whole = match names.as_slice() {
            [] => self.translate(root)?,
            names => self.path(names, tree)?,
        };
        chain[names.len().saturating_sub(1)..].iter().try_fold(whole, |whole, access| match access {
            AccessExpr::Dot(Tree::Identifier(name)) => self.field(whole, &name.value, tree),
            AccessExpr::Dot(other) => Err(cannot(format!("`.{other}`"), self.range(tree))),
            AccessExpr::Subscript(Subscript::Index { index }) => self.subscript(whole, index, tree),
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride: None }) => {
                let mut bound = |bound: &Option<Tree>, otherwise| match bound {
                    Some(bound) => self.translate(bound),
                    None => Ok(Expr::literal(Literal::Int64(otherwise))),
                };
                let bounds = vec![bound(lower_bound, 1)?, bound(upper_bound, -1)?];
                self.make("list_slice", std::iter::once(whole).chain(bounds).collect(), tree)
            }
            AccessExpr::Subscript(other) => Err(cannot(format!("`[{other}]`"), self.range(tree))),
        })
    }

    fn subscript(&mut self, whole: Expr, index: &Tree, tree: &Tree) -> Result<Expr, SqlError> {
        let index = self.translate(index)?;
        match whole.data_type() {
            DataType::Struct(_) => self.make("struct_extract", vec![whole, index], tree),
            DataType::Json => Err(self
                .type_error("brackets do not reach into JSON".into(), tree)
                .help("write `j -> 'key'`, `j -> 0` (counted from 0) or `j ->> '$.a[0]'` for text")),
            DataType::String => {
                Err(self.type_error("brackets do not cut text".into(), tree).help("write `substr(x, 1, 1)`"))
            }
            _ => self.make("list_element", vec![whole, index], tree),
        }
    }

    fn field(&self, whole: Expr, name: &str, tree: &Tree) -> Result<Expr, SqlError> {
        match whole.data_type() {
            DataType::Struct(_) => {
                let name = Expr::literal(Literal::String(name.into()));
                self.make("struct_extract", vec![whole, name], tree)
            }
            DataType::Json => Err(self
                .type_error(format!("JSON has no fields with a type, such as `.{name}`"), tree)
                .help(format!("write `… -> '{name}'` for JSON, `… ->> '{name}'` for text"))),
            other => {
                let message = format!("`.{name}` stands after {other}, which has no fields");
                Err(self.type_error(message, tree).help("a column whose name has a point is written in double quotes"))
            }
        }
    }

    /// Translates the fields of a struct that is written out.
    pub(super) fn structure(&mut self, fields: Vec<(&ast::Ident, &Tree)>, tree: &Tree) -> Result<Expr, SqlError> {
        let mut arguments = Vec::with_capacity(fields.len() * 2);
        for (name, value) in fields {
            arguments.push(Expr::literal(Literal::String(name.value.clone())));
            arguments.push(self.translate(value)?);
        }
        self.make("struct_pack", arguments, tree)
    }

    /// Translates `struct_pack(a := 1, b := 2)`.
    pub(super) fn named_arguments(&mut self, arguments: &[FunctionArg], tree: &Tree) -> Result<Expr, SqlError> {
        let fields = arguments.iter().map(|argument| match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => Ok((name, value)),
            other => Err(SqlError::new(Code::Expression, format!("`{other}` has no name"))
                .help("write `struct_pack(a := 1)` or `{'a': 1}`")
                .at(self.range(tree))),
        });
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        self.structure(fields, tree)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
    use engine::{Field, Schema};

    use super::*;
    use crate::sql::parse_expression;

    fn schema() -> Schema {
        let field = |name: &str, of: &str| Field::new(name, DataType::parse(of).unwrap());
        Schema::new(vec![
            field("n", "int64"),
            field("s", "struct<a: int64, b: list<struct<c: string>>>"),
            field("s.a", "bool"),
            field("tags", "list<string>"),
            field("numbers", "list<int32>"),
            field("j", "json"),
            field("text", "string"),
        ])
    }

    fn canonical(text: &str) -> String {
        parse_expression(text, &schema()).unwrap_or_else(|error| panic!("{text}: {error:?}")).to_string()
    }

    /// Evaluates an expression without columns: its JSON text, or the reason of its failure.
    fn value(text: &str) -> String {
        let expr = parse_expression(text, &Schema::default()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let expr = Expr::cast(expr, DataType::String, false).unwrap();
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let batch = RecordBatch::try_new_with_options(Schema::default().arrow(), vec![], &options).unwrap();
        let evaluated = expr.evaluate(&batch);
        match evaluated.failures.into_iter().next() {
            Some((_, reason)) => reason,
            None if evaluated.values.is_null(0) => "null".into(),
            None => evaluated.values.as_string::<i32>().value(0).into(),
        }
    }

    #[test]
    fn ways_into_columns_become_canonical() {
        for (text, expected) in [
            ("s.b[1].c", "struct_extract(list_element(struct_extract(s, 'b'), 1), 'c')"),
            ("s['b']", "struct_extract(s, 'b')"),
            ("s.a", "\"s.a\""),
            ("\"s.a\"", "\"s.a\""),
            ("(s).a + 1", "(struct_extract(s, 'a') + 1)"),
            ("tags[-1]", "list_element(tags, -1)"),
            ("tags[2:]", "list_slice(tags, 2, -1)"),
            ("tags[:n]", "list_slice(tags, 1, n)"),
            ("array[n, 1.5]", "[cast(n as float64), 1.5]"),
            ("list_append(numbers, 1)", "list_append(cast(numbers as list<int64>), 1)"),
            ("{'a': n, b: text}", "{'a': n, 'b': text}"),
            ("struct_pack(a := n)", "{'a': n}"),
            ("j -> 'a' -> 0 ->> 'b' = text", "((((j -> 'a') -> 0) ->> 'b') = text)"),
            ("j->>'n'::int64 > 1", "(cast((j ->> 'n') as int64) > 1)"),
            ("json_extract(text, '$.a')", "(cast(text as json) -> '$.a')"),
            ("cast(j as LIST<bigint>)", "cast(j as list<int64>)"),
            ("text::array<array<decimal(4, 1)>>", "cast(text as list<list<decimal(4,1)>>)"),
            ("cast(j as struct<X: int, y varchar[]>)", "cast(j as struct<X: int32, y: list<string>>)"),
            ("try_cast(j as struct(a list(int64)))", "try_cast(j as struct<a: list<int64>>)"),
            ("coalesce(numbers, [])", "coalesce(numbers, cast([] as list<int32>))"),
            ("tags is null and cardinality(tags) < 3", "((tags is null) and (list_length(tags) < 3))"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
            assert_eq!(canonical(expected), expected, "{text} reads back");
        }
    }

    /// DuckDB 2.0 gives these too, but where a remark says what it gives.
    #[test]
    fn lists_structs_and_json_have_these_values() {
        for (text, expected) in [
            ("[1, null] = [1, null]", "true"),
            ("[1] < [1, 2] and [null] < [1]", "true"), // DuckDB: null is the greatest.
            ("[1, 2, 3][0]", "null"),
            ("[1, 2, 3][4]", "null"),
            ("list_slice([1, 2, 3], 0, 2)", "[1,2]"),
            ("list_slice([1, 2, 3], -2, -1)", "[2,3]"),
            ("list_slice([1, 2, 3], 2, 9)", "[2,3]"),
            ("list_slice([1, 2, 3], 3, 1)", "[]"),
            ("list_contains([1, null], 2)", "false"),
            ("list_contains([1, null], null)", "null"),
            ("list_position([1, 2], 3)", "null"),
            ("list_sum([])", "null"),
            ("list_sum([0.1, 0.2, 0.3, -0.6])", "2.7755575615628914e-17"), // As Python's fsum; DuckDB adds in order.
            ("flatten([[1], null, [2, null]])", "[1,2,null]"),
            ("string_split('abc', '')", "[\"a\",\"b\",\"c\"]"),
            ("string_split('a,b,', ',')", "[\"a\",\"b\",\"\"]"),
            ("string_split('', ',')", "[\"\"]"),
            ("array_to_string(['a', null, 'b'], ',', '?')", "a,?,b"),
            ("range(4, 1, -2)", "[4,2]"),
            ("range(2, 2)", "[]"),
            ("list_append([1], null)", "[1,null]"),
            ("list_concat(null, [1])", "null"),              // DuckDB: [1].
            ("cast('{\"a\":null}' as json) -> 'a'", "null"), // DuckDB: the JSON value null.
            ("cast('{\"a\":[1, 2]}' as json) ->> 'a'", "[1,2]"),
            ("cast('[1,2]' as json) -> -1", "2"),
            ("json_value('{\"a\":[1]}', '$.a')", "null"),
            ("json_array_length('{}')", "0"),
            ("json_keys('[1]')", "[]"),
            ("json_extract('{\"a\":{\"b\":[5]}}', '$.a.b[0]')", "5"),
            ("to_json({'a': [1.5, null]})", "{\"a\":[1.5,null]}"),
            ("cast(cast('\"a\"' as json) as string)", "\"a\""),
            ("cast(cast('[\"a\", 1]' as json) as list<string>)", "[\"a\",\"1\"]"),
            ("cast('{\"b\": \"7\", \"c\": 1}' as struct<a: bool, b: int64>)", "{\"a\":null,\"b\":7}"),
            ("cast({'a': 1, 'b': 2} as struct<b: string, a: float64>)", "{\"b\":\"2\",\"a\":1.0}"),
            ("cast(cast('null' as json) as string)", "null"),
            ("cast('{\"b\": 1.0, \"a\": \"\\u0041\"}' as json)", "{\"a\":\"A\",\"b\":1.0}"),
            ("case when true then [1] else [2.5] end", "[1.0]"),
            ("{'a': 1} = {'a': 1.0}", "true"),
            ("try_cast('[1, x]' as list<int64>)", "null"),
            ("[timestamp '2026-01-01T00:00:00Z']", "[\"2026-01-01T00:00:00.000000Z\"]"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_fails_the_row() {
        for (text, reason) in [
            ("cast('[1, x]' as list<int64>)", "cast: '[1, x]' is not JSON: expected a value at byte 4"),
            ("cast('[1.5]' as list<int64>)", "cast: '1.5' is not a value of int64"),
            ("cast('{}' as list<int64>)", "cast: '{}' is not a value of list<int64>"),
            ("cast([1, 300000000000] as list<int32>)", "cast: 300000000000 is not a value of int32"),
            ("list_sum([9223372036854775807, 1])", "list_sum: the sum does not fit int64"),
            ("range(0, 9000000000)", "range: more than 1000000 elements"),
            ("range(0, 1, 0)", "range: the step is 0"),
            ("json_type('{')", "cast: '{' is not JSON: expected a key at the end"),
        ] {
            assert_eq!(value(text), reason, "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let error = |text: &str| {
            let error = parse_expression(text, &schema()).unwrap_err();
            format!("{}: {} ({})", error.code.name(), error.message, error.help.unwrap_or_default())
        };
        for (text, words) in [
            ("s.x", "E_TYPE: the struct has no field `x`; it has a, b"),
            ("n.x", "E_TYPE: `.x` stands after int64, which has no fields"),
            ("j.x", "write `… -> 'x'` for JSON"),
            ("j[1]", "`j -> 0`"),
            ("text[1]", "substr"),
            ("n[1]", "E_TYPE: `list_element` takes (list<any>, int64) → any, not (int64, int64)"),
            ("[1, 'a']", "E_TYPE: int64 and string have no common type"),
            ("{'a': 1, 'a': 2}", "two fields `a`"),
            ("{'a b': 1}", "cannot name a field"),
            ("j -> '$.'", "is not a path"),
            ("unnest(tags)", "`explode: {tags: tag}`"),
            ("cast(n as list<int64>)", "E_TYPE: int64 cannot be converted to list<int64>"),
            ("cast(s as struct<a: int64>)", "cannot be converted"),
            ("cast(tags as list<map>)", "E_TYPE: unknown type"),
            ("tags + 1", "E_TYPE"),
        ] {
            assert!(error(text).contains(words), "{text}: {}", error(text));
        }
    }
}
