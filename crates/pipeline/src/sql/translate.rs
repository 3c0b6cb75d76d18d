//! From the parser's tree to a typed expression.

use engine::expr::function::{self, NONDETERMINISTIC};
use engine::expr::{Expr, Interval, Literal, MAX_DEPTH};
use engine::plan::{AggregateCall, SIDES};
use engine::{Code, DataType, Schema, aggregate};
use sqlparser::ast::{
    self, BinaryOperator, CastKind, CeilFloorKind, Expr as Tree, FunctionArg, FunctionArgExpr, FunctionArguments,
    Spanned, UnaryOperator, Value,
};

use super::aggregate::{Aggregates, translate_call};
use super::names;
use super::{Positions, SqlError, dialect};

type Range = (usize, usize);

/// Translates one text. A mistake that knows no place is put at the innermost stretch around it.
pub(super) struct Translator<'a> {
    pub(super) schema: &'a Schema,
    place: Place<'a>,
    positions: &'a Positions<'a>,
    depth: usize,
}

/// Where the expression stands, which decides about aggregates.
enum Place<'a> {
    Rows,
    Aggregate(&'static str),
    Output(Aggregates<'a>),
}

/// Makes the error of something that SQL has and expressions here do not.
pub(super) fn cannot(what: impl std::fmt::Display, range: Range) -> SqlError {
    SqlError::new(Code::Expression, format!("{what} cannot be used in an expression")).at(range)
}

impl<'a> Translator<'a> {
    pub(super) fn over_rows(schema: &'a Schema, positions: &'a Positions<'a>) -> Self {
        Self { schema, place: Place::Rows, positions, depth: 0 }
    }

    pub(super) fn inside_aggregate(schema: &'a Schema, name: &'static str, positions: &'a Positions<'a>) -> Self {
        Self { schema, place: Place::Aggregate(name), positions, depth: 0 }
    }

    pub(super) fn over_aggregates(
        row_schema: &'a Schema,
        closed: &'a Schema,
        calls: &'a mut Vec<AggregateCall>,
        positions: &'a Positions<'a>,
    ) -> Self {
        Self { schema: closed, place: Place::Output(Aggregates { row_schema, calls }), positions, depth: 0 }
    }

    pub(super) fn translate(&mut self, tree: &Tree) -> Result<Expr, SqlError> {
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH {
            Err(SqlError::new(Code::Expression, format!("the expression nests more than {MAX_DEPTH} deep"))
                .at((0, self.positions.text.len())))
        } else {
            self.node(tree)
        };
        self.depth -= 1;
        result
    }

    fn node(&mut self, tree: &Tree) -> Result<Expr, SqlError> {
        match tree {
            Tree::Nested(inner) => self.translate(inner),
            Tree::Identifier(name) => self.column(name, tree),
            Tree::Value(value) => self.literal(&value.value, tree),
            Tree::TypedString(typed) => self.typed_string(typed, tree),
            Tree::UnaryOp { op, expr } => self.unary(*op, expr, tree),
            Tree::BinaryOp { left, op, right } => self.binary(left, op, right, tree),
            Tree::IsNull(x) => self.call("is null", &[x], tree),
            Tree::IsNotNull(x) => self.call("is not null", &[x], tree),
            Tree::IsUnknown(x) => self.call("is null", &[x], tree),
            Tree::IsNotUnknown(x) => self.call("is not null", &[x], tree),
            Tree::IsTrue(x) => self.is_bool(x, true, false, tree),
            Tree::IsNotTrue(x) => self.is_bool(x, true, true, tree),
            Tree::IsFalse(x) => self.is_bool(x, false, false, tree),
            Tree::IsNotFalse(x) => self.is_bool(x, false, true, tree),
            Tree::IsDistinctFrom(x, y) => self.call("is distinct from", &[x, y], tree),
            Tree::IsNotDistinctFrom(x, y) => self.call("is not distinct from", &[x, y], tree),
            Tree::Between { expr, negated, low, high } => {
                let between = self.call("between", &[expr, low, high], tree)?;
                self.negated(*negated, between, tree)
            }
            Tree::InList { expr, list, negated } => {
                let operands: Vec<&Tree> = std::iter::once(expr.as_ref()).chain(list).collect();
                let found = self.call("in", &operands, tree)?;
                self.negated(*negated, found, tree)
            }
            Tree::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like("like", *negated, expr, pattern, escape_char.as_deref(), tree)
            }
            Tree::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like("ilike", *negated, expr, pattern, escape_char.as_deref(), tree)
            }
            Tree::RLike { negated, expr, pattern, .. } => {
                let found = self.call("regexp_matches", &[expr, pattern], tree)?;
                self.negated(*negated, found, tree)
            }
            Tree::SimilarTo { .. } => Err(cannot("`similar to`", self.range(tree))
                .help("its patterns mean different things elsewhere: write `regexp_full_match(x, 'pattern')`")),
            Tree::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), tree)
            }
            Tree::Cast { kind, expr, data_type, format: None } => self.cast(kind, expr, data_type, tree),
            Tree::Extract { field, expr, .. } => {
                let field =
                    Expr::literal(Literal::String(field.to_string().to_ascii_lowercase().trim_matches('\'').into()));
                let operand = self.translate(expr)?;
                self.make("extract", vec![field, operand], tree)
            }
            Tree::Substring { expr, substring_from, substring_for, .. } => {
                let one = Tree::value(Value::Number("1".into(), false));
                let mut operands = vec![expr.as_ref(), substring_from.as_deref().unwrap_or(&one)];
                operands.extend(substring_for.as_deref());
                self.call("substr", &operands, tree)
            }
            Tree::Trim { expr, trim_where, trim_what, trim_characters } => {
                self.trim(expr, trim_where.as_ref(), trim_what.as_deref(), trim_characters.as_deref(), tree)
            }
            Tree::Position { expr, r#in } => self.call("strpos", &[r#in, expr], tree),
            Tree::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut operands = vec![expr.as_ref(), overlay_what, overlay_from];
                operands.extend(overlay_for.as_deref());
                self.call("overlay", &operands, tree)
            }
            Tree::AtTimeZone { timestamp, time_zone } => self.call("timezone", &[time_zone, timestamp], tree),
            Tree::Ceil { expr, field } => self.round_to("ceil", expr, field, tree),
            Tree::Floor { expr, field } => self.round_to("floor", expr, field, tree),
            Tree::Function(function) => self.function(function, tree),
            Tree::CompoundIdentifier(names) => self.path(names, tree),
            Tree::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, tree),
            Tree::Array(array) => self.call("list_value", &array.elem.iter().collect::<Vec<_>>(), tree),
            Tree::Dictionary(fields) => {
                let fields = fields.iter().map(|field| (&field.key, field.value.as_ref()));
                self.structure(fields.collect(), tree)
            }
            Tree::Tuple(_) => Err(cannot("a list in parentheses", self.range(tree))
                .help("a struct is `{'a': 1, 'b': 2}`, a list is `[1, 2]`")),
            Tree::Subquery(_) | Tree::Exists { .. } | Tree::InSubquery { .. } => {
                Err(cannot("a subquery", self.range(tree)).help("use another step and `from:` or `join:`"))
            }
            Tree::Interval(_) => {
                Err(SqlError::new(Code::Type, "an interval is added to or taken from a timestamp, nothing else")
                    .help("write `ts + interval '5 minutes'`")
                    .at(self.range(tree)))
            }
            other => Err(cannot(format!("`{}`", shortened(&other.to_string())), self.range(tree))),
        }
    }

    pub(super) fn column(&self, name: &ast::Ident, tree: &Tree) -> Result<Expr, SqlError> {
        if let Some(field) = self.schema.field(&name.value) {
            return Ok(Expr::column(&field.name, field.data_type));
        }
        let lower = name.value.to_ascii_lowercase();
        if name.quote_style.is_none() && NONDETERMINISTIC.contains(&lower.as_str()) {
            return Err(nondeterministic(&lower, self.range(tree)));
        }
        let sides = SIDES.map(|side| format!("{side}.{}", name.value));
        if sides.iter().all(|name| self.schema.field(name).is_some()) {
            return Err(SqlError::new(Code::Name, format!("both sides of the join have a column `{}`", name.value))
                .help(format!("say which one is meant: `{}` or `{}`", sides[0], sides[1]))
                .at(self.range(tree)));
        }
        let message = format!("there is no column `{}`", name.value);
        let error = SqlError::new(Code::Expression, message).at(self.range(tree));
        if let Place::Output(aggregates) = &self.place
            && aggregates.row_schema.field(&name.value).is_some()
        {
            return Err(SqlError {
                message: format!("`{}` is neither grouped nor inside an aggregate", name.value),
                ..error
            }
            .help(format!(
                "add it to `group_by`, or say which value is meant: `max({0})`, `last({0})`, …",
                name.value
            )));
        }
        if name.quote_style == Some('"') {
            return Err(error.help(format!(
                "text stands in single quotes: `'{}'`; double quotes are for names of columns",
                name.value
            )));
        }
        let names = self.schema.fields.iter().map(|field| field.name.as_str());
        Err(match names::nearest(&name.value, names) {
            Some(name) => error.help(format!("did you mean `{name}`?")),
            None => {
                let names: Vec<&str> = self.schema.fields.iter().map(|field| field.name.as_str()).collect();
                error.help(format!("columns here: {}", names.join(", ")))
            }
        })
    }

    /// Returns the error of a name with points that should be that of a column of one side of a join.
    pub(super) fn no_column_of_side(&self, names: &[ast::Ident], tree: &Tree) -> Option<SqlError> {
        let [side, own, ..] = names else { return None };
        let prefix = format!("{}.", side.value);
        let is_side = SIDES.contains(&side.value.as_str());
        let of_sides = || self.schema.fields.iter().map(|field| field.name.as_str()).filter(|name| name.contains('.'));
        if !is_side || !of_sides().any(|name| name.starts_with(&prefix)) {
            return None;
        }
        let name = format!("{prefix}{}", own.value);
        let error = SqlError::new(Code::Name, format!("there is no column `{name}`")).at(self.range(tree));
        Some(match names::nearest(&name, of_sides()) {
            Some(name) => error.help(format!("did you mean `{name}`?")),
            None => error.help(format!("columns of the sides: {}", of_sides().collect::<Vec<_>>().join(", "))),
        })
    }

    fn literal(&self, value: &Value, tree: &Tree) -> Result<Expr, SqlError> {
        let literal = match value {
            Value::Null => Literal::Null,
            Value::Boolean(value) => Literal::Bool(*value),
            Value::Number(text, false) => {
                Literal::number(text).map_err(|why| SqlError::new(Code::Expression, why).at(self.range(tree)))?
            }
            Value::SingleQuotedString(text) => Literal::String(text.clone()),
            other => {
                return Err(
                    cannot(format!("`{other}`"), self.range(tree)).help("text is written in single quotes: `'text'`")
                );
            }
        };
        Ok(Expr::literal(literal))
    }

    fn typed_string(&self, typed: &ast::TypedString, tree: &Tree) -> Result<Expr, SqlError> {
        let to = self.data_type(&typed.data_type, tree)?;
        let Value::SingleQuotedString(text) = &typed.value.value else {
            return Err(cannot(format!("`{typed}`"), self.range(tree)));
        };
        let text = Expr::literal(Literal::String(text.clone()));
        if matches!(to, DataType::Timestamp | DataType::Date) {
            // Comparing a literal with a value of its type converts it now, so that a bad one is refused now.
            return Expr::constant(text, to).map_err(|why| self.type_error(why, tree));
        }
        Expr::cast(text, to, false).map_err(|why| self.type_error(why, tree))
    }

    fn unary(&mut self, op: UnaryOperator, operand: &Tree, tree: &Tree) -> Result<Expr, SqlError> {
        match op {
            UnaryOperator::Not => self.call("not", &[operand], tree),
            UnaryOperator::BitwiseNot => self.call("~", &[operand], tree),
            UnaryOperator::Plus => {
                let operand = self.translate(operand)?;
                if !operand.data_type().is_numeric() {
                    return Err(self.type_error(format!("`+` takes a number, not {}", operand.data_type()), tree));
                }
                Ok(operand)
            }
            UnaryOperator::Minus => {
                if let Tree::Value(value) = operand
                    && let Value::Number(text, false) = &value.value
                    && *text == i64::MIN.unsigned_abs().to_string()
                {
                    return Ok(Expr::literal(Literal::Int64(i64::MIN)));
                }
                let operand = self.translate(operand)?;
                match operand.as_literal().and_then(Literal::negated) {
                    Some(literal) => Ok(Expr::literal(literal)),
                    None => self.make("negate", vec![operand], tree),
                }
            }
            other => Err(cannot(format!("the operator `{other}`"), self.range(tree))),
        }
    }

    fn binary(&mut self, left: &Tree, op: &BinaryOperator, right: &Tree, tree: &Tree) -> Result<Expr, SqlError> {
        let name = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::DuckIntegerDivide | BinaryOperator::MyIntegerDivide => "//",
            BinaryOperator::Modulo => "%",
            BinaryOperator::Eq => "=",
            BinaryOperator::NotEq => "<>",
            BinaryOperator::Lt => "<",
            BinaryOperator::LtEq => "<=",
            BinaryOperator::Gt => ">",
            BinaryOperator::GtEq => ">=",
            BinaryOperator::Arrow => "->",
            BinaryOperator::LongArrow => "->>",
            BinaryOperator::And => return self.chain("and", BinaryOperator::And, left, right, tree),
            BinaryOperator::Or => return self.chain("or", BinaryOperator::Or, left, right, tree),
            BinaryOperator::StringConcat => {
                return self.chain("concat", BinaryOperator::StringConcat, left, right, tree);
            }
            BinaryOperator::BitwiseAnd => "&",
            BinaryOperator::BitwiseOr => "|",
            BinaryOperator::PGBitwiseShiftLeft => "<<",
            BinaryOperator::PGBitwiseShiftRight => ">>",
            BinaryOperator::PGRegexMatch => return self.matches(left, right, false, false, tree),
            BinaryOperator::PGRegexNotMatch => return self.matches(left, right, false, true, tree),
            BinaryOperator::PGRegexIMatch => return self.matches(left, right, true, false, tree),
            BinaryOperator::PGRegexNotIMatch => return self.matches(left, right, true, true, tree),
            BinaryOperator::PGLikeMatch => return self.like("like", false, left, right, None, tree),
            BinaryOperator::PGNotLikeMatch => return self.like("like", true, left, right, None, tree),
            BinaryOperator::PGILikeMatch => return self.like("ilike", false, left, right, None, tree),
            BinaryOperator::PGNotILikeMatch => return self.like("ilike", true, left, right, None, tree),
            BinaryOperator::BitwiseXor => {
                return Err(cannot("the operator `^`", self.range(tree))
                    .help("write `power(x, y)`, or `xor(a, b)` for the bits that exactly one has"));
            }
            other => return Err(cannot(format!("the operator `{other}`"), self.range(tree))),
        };
        match (name, left, right) {
            ("+", ts, Tree::Interval(interval)) | ("+", Tree::Interval(interval), ts) => {
                self.shift(ts, interval, 1, tree)
            }
            ("-", ts, Tree::Interval(interval)) => self.shift(ts, interval, -1, tree),
            _ => {
                let operands = vec![self.translate(left)?, self.translate(right)?];
                self.arithmetic(name, operands, tree)
            }
        }
    }

    /// Makes an operation; days are added to dates and counted between them.
    fn arithmetic(&self, name: &str, mut operands: Vec<Expr>, tree: &Tree) -> Result<Expr, SqlError> {
        let types = (operands[0].data_type(), operands[1].data_type());
        match (name, types) {
            ("+", (DataType::Date, other)) if other.is_integer() => self.make("add_days", operands, tree),
            ("+", (other, DataType::Date)) if other.is_integer() => {
                operands.swap(0, 1);
                self.make("add_days", operands, tree)
            }
            ("-", (DataType::Date, other)) if other.is_integer() => {
                let days = operands.remove(1);
                let days = match days.as_literal().and_then(Literal::negated) {
                    Some(literal) => Expr::literal(literal),
                    None => self.make("negate", vec![days], tree)?,
                };
                operands.push(days);
                self.make("add_days", operands, tree)
            }
            ("-", (DataType::Date, DataType::Date)) => {
                operands.swap(0, 1);
                operands.insert(0, Expr::literal(Literal::String("day".into())));
                self.make("date_diff", operands, tree)
            }
            (
                "-",
                (DataType::Timestamp, DataType::Timestamp | DataType::Date) | (DataType::Date, DataType::Timestamp),
            ) => Err(SqlError::new(Code::Type, "there is no type for the time between two timestamps")
                .help("count it in a unit: `timestampdiff('second', from, to)`, or `epoch_us(a) - epoch_us(b)`")
                .at(self.range(tree))),
            _ => self.make(name, operands, tree),
        }
    }

    fn like(
        &mut self,
        name: &str,
        negated: bool,
        operand: &Tree,
        pattern: &Tree,
        escape: Option<&Tree>,
        tree: &Tree,
    ) -> Result<Expr, SqlError> {
        let mut operands = vec![operand, pattern];
        operands.extend(escape);
        let like = self.call(name, &operands, tree)?;
        self.negated(negated, like, tree)
    }

    /// Translates `x ~ 'pattern'` and its kin.
    fn matches(
        &mut self,
        text: &Tree,
        pattern: &Tree,
        any_case: bool,
        negated: bool,
        tree: &Tree,
    ) -> Result<Expr, SqlError> {
        let mut operands = vec![self.translate(text)?, self.translate(pattern)?];
        if any_case {
            operands.push(Expr::literal(Literal::String("i".into())));
        }
        let found = self.make("regexp_matches", operands, tree)?;
        self.negated(negated, found, tree)
    }

    /// Translates `a op b op c …` as one call of all operands, however long the chain.
    fn chain(
        &mut self,
        name: &str,
        op: BinaryOperator,
        left: &Tree,
        right: &Tree,
        tree: &Tree,
    ) -> Result<Expr, SqlError> {
        let (mut operands, mut first) = (vec![right], left);
        while let Tree::BinaryOp { left, op: inner, right } = first
            && *inner == op
        {
            operands.push(right);
            first = left;
        }
        operands.push(first);
        operands.reverse();
        self.call(name, &operands, tree)
    }

    /// Translates `ts + interval '…'`: months first, then what has a length.
    fn shift(&mut self, ts: &Tree, interval: &ast::Interval, sign: i64, tree: &Tree) -> Result<Expr, SqlError> {
        let interval = self.interval(interval, tree)?;
        let interval = if sign < 0 { interval.negated() } else { Some(interval) };
        let Some(Interval { months, microseconds }) = interval else {
            return Err(SqlError::new(Code::Expression, "the interval is too long").at(self.range(tree)));
        };
        let mut ts = self.translate(ts)?;
        if months != 0 {
            ts = self.make("add_months", vec![ts, Expr::literal(Literal::Int64(months))], tree)?;
        }
        if microseconds != 0 || months == 0 {
            ts = self.make("add_interval", vec![ts, Expr::literal(Literal::Int64(microseconds))], tree)?;
        }
        Ok(ts)
    }

    fn interval(&self, interval: &ast::Interval, tree: &Tree) -> Result<Interval, SqlError> {
        interval_text(interval).and_then(|text| Interval::parse(&text)).map_err(|why| {
            SqlError::new(Code::Expression, why)
                .help("write `interval '5 minutes'`, in units from microsecond to millennium")
                .at(self.range(tree))
        })
    }

    fn is_bool(&mut self, operand: &Tree, value: bool, negated: bool, tree: &Tree) -> Result<Expr, SqlError> {
        let operand = self.translate(operand)?;
        let name = if negated { "is distinct from" } else { "is not distinct from" };
        self.make(name, vec![operand, Expr::literal(Literal::Bool(value))], tree)
    }

    fn negated(&self, negated: bool, expr: Expr, tree: &Tree) -> Result<Expr, SqlError> {
        if negated { self.make("not", vec![expr], tree) } else { Ok(expr) }
    }

    /// Translates both forms; `case x when v` compares `x = v`, branch after branch.
    fn case(
        &mut self,
        operand: Option<&Tree>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Tree>,
        tree: &Tree,
    ) -> Result<Expr, SqlError> {
        let operand = operand.map(|operand| self.translate(operand)).transpose()?;
        let mut branches = Vec::with_capacity(conditions.len());
        for branch in conditions {
            let mut condition = self.translate(&branch.condition)?;
            if let Some(operand) = &operand {
                condition = self.make("=", vec![operand.clone(), condition], &branch.condition)?;
            }
            branches.push((condition, self.translate(&branch.result)?));
        }
        let otherwise = otherwise.map(|otherwise| self.translate(otherwise)).transpose()?;
        Expr::case(branches, otherwise).map_err(|why| self.type_error(why, tree))
    }

    fn cast(&mut self, kind: &CastKind, operand: &Tree, to: &ast::DataType, tree: &Tree) -> Result<Expr, SqlError> {
        let to = self.data_type(to, tree)?;
        let operand = self.translate(operand)?;
        let or_null = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
        Expr::cast(operand, to, or_null).map_err(|why| self.type_error(why, tree))
    }

    fn data_type(&self, written: &ast::DataType, tree: &Tree) -> Result<DataType, SqlError> {
        dialect::data_type(written).ok_or_else(|| {
            let message = format!("unknown type `{}`", written.to_string().to_ascii_lowercase());
            SqlError::new(Code::Type, message)
                .help("types: bool, int32, int64, float64, decimal(p,s), string, timestamp, date, binary, json, list<T>, struct<a: T, …>")
                .at(self.range(tree))
        })
    }

    fn trim(
        &mut self,
        operand: &Tree,
        side: Option<&ast::TrimWhereField>,
        what: Option<&Tree>,
        characters: Option<&[Tree]>,
        tree: &Tree,
    ) -> Result<Expr, SqlError> {
        let name = match side {
            None | Some(ast::TrimWhereField::Both) => "trim",
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
        };
        let mut operands = vec![operand];
        operands.extend(what);
        operands.extend(characters.into_iter().flatten());
        self.call(name, &operands, tree)
    }

    fn round_to(&mut self, name: &str, operand: &Tree, field: &CeilFloorKind, tree: &Tree) -> Result<Expr, SqlError> {
        match field {
            CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) => self.call(name, &[operand], tree),
            CeilFloorKind::DateTimeField(unit) if name == "floor" => {
                let unit = Expr::literal(Literal::String(unit.to_string().to_ascii_lowercase()));
                let operand = self.translate(operand)?;
                self.make("date_trunc", vec![unit, operand], tree)
            }
            _ => Err(cannot(format!("`{tree}`"), self.range(tree)).help("for times there is `date_trunc('hour', ts)`")),
        }
    }

    fn function(&mut self, function: &ast::Function, tree: &Tree) -> Result<Expr, SqlError> {
        let range = self.range(tree);
        let name = match function.name.0.as_slice() {
            [ast::ObjectNamePart::Identifier(name)] => name.value.to_ascii_lowercase(),
            _ => return Err(self.unknown_function(&function.name.to_string(), range)),
        };
        if NONDETERMINISTIC.contains(&name.as_str()) {
            return Err(nondeterministic(&name, range));
        }
        if let Some(aggregate) = aggregate::find(&name) {
            return match &mut self.place {
                Place::Output(aggregates) => translate_call(aggregate, function, range, aggregates, self.positions),
                Place::Aggregate(outer) => {
                    Err(SqlError::new(Code::Expression, format!("the aggregate `{name}` stands inside `{outer}(…)`"))
                        .help("an aggregate of aggregates is a second step over this one")
                        .at(range))
                }
                Place::Rows => Err(SqlError::new(
                    Code::Expression,
                    format!("the aggregate `{name}` has no window here"),
                )
                .help(
                    "aggregates stand under `aggregate: {NAME: …}` of a step with `window:`; `having:` speaks of them by those names",
                )
                .at(range)),
            };
        }
        if let Some((ts, interval, sign)) = names::shifted(&name, &function.args) {
            return self.shift(ts, interval, sign, tree);
        }
        let Some(found) = function::find(&name).filter(|_| names::is_word(&name)) else {
            return Err(self.unknown_function(&name, range));
        };
        if function.filter.is_some()
            || function.over.is_some()
            || !function.within_group.is_empty()
            || function.null_treatment.is_some()
        {
            return Err(cannot(format!("`over`, `filter` or `within group` after `{name}(…)`"), range));
        }
        let FunctionArguments::List(list) = &function.args else {
            return Err(SqlError::new(Code::Expression, format!("`{name}` needs parentheses")).at(range));
        };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(cannot(format!("`distinct` or a clause inside `{name}(…)`"), range));
        }
        if found.name == "struct_pack" {
            return self.named_arguments(&list.args, tree);
        }
        let mut operands = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => operands.push(argument),
                other => return Err(cannot(format!("`{other}` as an argument of `{name}`"), range)),
            }
        }
        let mut arguments = Vec::with_capacity(operands.len());
        for (place, operand) in operands.into_iter().enumerate() {
            arguments.push(match self.constant(found, place, operand)? {
                Some(constant) => constant,
                None => self.translate(operand)?,
            });
        }
        self.make(found.name, arguments, tree)
    }

    /// Returns the argument as text where the function wants it written out and it is a bare word that is known there,
    /// such as a unit, or an interval.
    fn constant(&self, function: &function::Function, place: usize, operand: &Tree) -> Result<Option<Expr>, SqlError> {
        let Some((_, words)) = function.constants.iter().find(|(constant, _)| *constant == place) else {
            return Ok(None);
        };
        let text = match operand {
            Tree::Identifier(name) if name.quote_style.is_none() => {
                let word = name.value.to_ascii_lowercase();
                let is_known =
                    |known: &&&str| known.eq_ignore_ascii_case(&word) || word.strip_suffix('s') == Some(known);
                words.iter().find(is_known).map(|_| word.clone())
            }
            Tree::Interval(interval) => Some(self.interval(interval, operand)?.to_string()),
            _ => None,
        };
        Ok(text.map(|text| Expr::literal(Literal::String(text))))
    }

    fn unknown_function(&self, name: &str, range: Range) -> SqlError {
        let error = SqlError::new(Code::Expression, format!("unknown function `{name}`")).at(range);
        match names::suggestion(&name.to_ascii_lowercase()) {
            Some(help) => error.help(help),
            None => error,
        }
    }

    pub(super) fn call(&mut self, name: &str, operands: &[&Tree], tree: &Tree) -> Result<Expr, SqlError> {
        let operands = operands.iter().map(|operand| self.translate(operand)).collect::<Result<Vec<_>, _>>()?;
        self.make(name, operands, tree)
    }

    pub(super) fn make(&self, name: &str, operands: Vec<Expr>, tree: &Tree) -> Result<Expr, SqlError> {
        Expr::call(name, operands).map_err(|why| self.type_error(why, tree))
    }

    pub(super) fn type_error(&self, why: String, tree: &Tree) -> SqlError {
        SqlError::new(Code::Type, why).at(self.range(tree))
    }

    /// Returns the bytes that a node stands on; the whole text when the parser does not know.
    pub(super) fn range(&self, tree: &Tree) -> Range {
        let (start, end) = self.positions.range(tree.span()).unwrap_or((0, self.positions.text.len()));
        // The parser leaves out the closing parenthesis of a call, and both when there are no arguments.
        let text = self.positions.text;
        let after = |end: usize| text[end..].chars().find(|c| !c.is_whitespace());
        let is_bare_call = matches!(tree, Tree::Function(_)) && after(end) == Some('(');
        let opened = text[start..end].matches('(').count() + usize::from(is_bare_call);
        let mut extended = end;
        while text[start..extended].matches(')').count() < opened {
            let blank = text[extended..].len() - text[extended..].trim_start().len();
            match after(extended) {
                Some('(' | ')' | '*') => extended += blank + 1,
                _ => return (start, end),
            }
        }
        (start, extended)
    }
}

fn nondeterministic(name: &str, range: Range) -> SqlError {
    let help = match name {
        "random" | "rand" | "rand_integer" | "setseed" => {
            "take a column's value instead, such as `_offset % 100 < 5` for a sample that every run draws alike"
        }
        "uuid" | "gen_random_uuid" | "uuidv4" | "uuidv7" => {
            "a record is named by `_partition` and `_offset`; they are the same in every run"
        }
        "current_user" | "session_user" | "user" | "current_database" | "current_setting" | "version" | "getenv" => {
            "give it as a variable: `vars: {NAME: {default: …}}` and `${NAME}`"
        }
        _ => {
            "the log has its own time: the event-time column, or `_timestamp`; in a window, `window_start` and `window_end`"
        }
    };
    let message = format!("`{name}` would give another result in every run");
    SqlError::new(Code::Nondeterministic, message).help(help).at(range)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Returns what an interval says in one text, or why it cannot be read.
fn interval_text(interval: &ast::Interval) -> Result<String, String> {
    if interval.last_field.is_some() || interval.leading_precision.is_some() {
        return Err(format!("`{interval}` cannot be read"));
    }
    let value = match &*interval.value {
        Tree::Value(value) => match &value.value {
            Value::Number(text, false) | Value::SingleQuotedString(text) => text.trim(),
            _ => return Err(format!("`{interval}` cannot be read")),
        },
        _ => return Err("the length of an interval is a constant".into()),
    };
    Ok(match &interval.leading_field {
        Some(field) => format!("{value} {field}"),
        None => value.into(),
    })
}
