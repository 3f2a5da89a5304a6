//! Converts the expressions of minijinja's syntax tree.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::Span;
use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, UnaryOpKind};
use minijinja::value::ValueKind;

use crate::template::error::{Problem, TemplateError};
use crate::template::filters;
use crate::template::parse::{Comparison, ExprKind, Expression, Filter, IfExpr, LoopAttribute};
use crate::text::{Position, Quoted, nearest};

/// The name of the variable that contains all fields.
pub(crate) const FIELDS: &str = "fields";
/// The first part of a reference to a field of another credential.
const CREDENTIALS: &str = "credentials";

/// Names that a template uses.
#[derive(Default)]
pub(crate) struct Names {
    /// Each with its first position.
    pub(crate) used: BTreeMap<String, Position>,
    /// Those that need not exist, because the template sets them or checks whether they exist.
    pub(crate) optional: BTreeSet<String>,
}

impl Names {
    fn uses(&mut self, name: String, at: Position) -> String {
        self.used.entry(name.clone()).or_insert(at);
        name
    }
}

/// Converts the parser's syntax tree, and collects the names that it uses.
#[derive(Default)]
pub(crate) struct TreeBuilder {
    pub(crate) fields: Names,
    /// Fields of other credentials, as `NAME.FIELD`.
    pub(crate) references: Names,
    /// The depth of nested loops.
    pub(crate) loops: usize,
}

impl TreeBuilder {
    fn boxed(&mut self, expr: &Expr<'_>) -> Result<Box<Expression>, TemplateError> {
        self.expression(expr).map(Box::new)
    }

    fn pair(
        &mut self,
        left: &Expr<'_>,
        right: &Expr<'_>,
    ) -> Result<Box<(Expression, Expression)>, TemplateError> {
        Ok(Box::new((self.expression(left)?, self.expression(right)?)))
    }

    pub(crate) fn expression(&mut self, expr: &Expr<'_>) -> Result<Expression, TemplateError> {
        let kind = match expr {
            Expr::Const(constant) => constant_kind(constant, constant.span())?,
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.name(expr)?,
            Expr::UnaryOp(op) => match op.op {
                UnaryOpKind::Not => ExprKind::Not(self.boxed(&op.expr)?),
                UnaryOpKind::Neg => return arithmetic(op.span()),
            },
            Expr::BinOp(op) => self.operation(op)?,
            Expr::Compare(chain) => {
                let first = self.boxed(&chain.expr)?;
                let mut rest = Vec::new();
                for ast::CompareOp { op, expr: right } in &chain.ops {
                    rest.push((comparison(*op, right.span())?, self.expression(right)?));
                }
                ExprKind::Compare(first, rest)
            }
            Expr::IfExpr(choice) => ExprKind::IfExpr(Box::new(IfExpr {
                condition: self.expression(&choice.test_expr)?,
                then: self.expression(&choice.true_expr)?,
                otherwise: choice.false_expr.as_ref().map(|expr| self.expression(expr)).transpose()?,
            })),
            Expr::Filter(filtered) => self.filtered(filtered, filtered.span())?,
            Expr::Test(test) => self.test(test, test.span())?,
            Expr::Slice(other) => return unsupported(other.span(), "a slice", "a value cannot be split"),
            Expr::Call(other) => {
                return unsupported(other.span(), "a call", "there are no functions; write filters after |");
            }
            Expr::List(other) => return unsupported(other.span(), "a list", "values are text"),
            Expr::Tuple(other) => return unsupported(other.span(), "a list", "values are text"),
            Expr::Map(other) => return unsupported(other.span(), "a map", "values are text"),
        };
        Ok(Expression { at: position(expr), kind })
    }

    /// Converts a variable, a field, an attribute of `loop`, or a reference to another credential. Dots are part of the name of a
    /// field: a source with an alias has fields `alias.key`, and keys such as `tls.crt` are common.
    fn name(&mut self, expr: &Expr<'_>) -> Result<ExprKind, TemplateError> {
        if let Expr::GetItem(item) = expr
            && let Expr::Var(var) = &item.expr
            && var.id == FIELDS
            && text_constant(&item.subscript_expr).is_none()
        {
            return Ok(ExprKind::Item(self.boxed(&item.subscript_expr)?));
        }
        let mut parts = Vec::new();
        parts_of_name(expr, &mut parts)?;
        let at = position(expr);
        Ok(match parts.as_slice() {
            [FIELDS] => ExprKind::Fields,
            [name] => ExprKind::Name(self.fields.uses((*name).to_owned(), at)),
            ["loop", attribute @ ..] if self.loops > 0 => {
                match LoopAttribute::ALL.iter().find(|(known, _)| attribute == [*known]) {
                    Some((_, attribute)) => ExprKind::Loop(*attribute),
                    None => {
                        let instead = "use first, last, index, index0 or length";
                        return unsupported(expr.span(), "this attribute of loop", instead);
                    }
                }
            }
            [CREDENTIALS, name] => {
                return Err(TemplateError::at(at, Problem::IncompleteReference { name: (*name).to_owned() }));
            }
            [CREDENTIALS, reference @ ..] if reference.len() > 1 => {
                ExprKind::Reference(self.references.uses(reference.join("."), at))
            }
            [FIELDS, name @ ..] | name => ExprKind::Field(self.fields.uses(name.join("."), at)),
        })
    }

    fn operation(&mut self, op: &ast::BinOp<'_>) -> Result<ExprKind, TemplateError> {
        let compared = match op.op {
            BinOpKind::ScAnd => return Ok(ExprKind::And(self.pair(&op.left, &op.right)?)),
            BinOpKind::ScOr => return Ok(ExprKind::Or(self.pair(&op.left, &op.right)?)),
            BinOpKind::Concat => {
                let mut left = self.expression(&op.left)?;
                let right = self.expression(&op.right)?;
                if let ExprKind::Concat(texts) = &mut left.kind {
                    texts.push(right);
                    return Ok(left.kind);
                }
                return Ok(ExprKind::Concat(vec![left, right]));
            }
            BinOpKind::Eq => CompareOpKind::Eq,
            BinOpKind::Ne => CompareOpKind::Ne,
            BinOpKind::In => CompareOpKind::In,
            BinOpKind::Lt | BinOpKind::Lte | BinOpKind::Gt | BinOpKind::Gte => CompareOpKind::Lt,
            BinOpKind::Sub
                if let (Some(left), Some(right)) = (dashed_name(&op.left), dashed_name(&op.right)) =>
            {
                let problem = Problem::Dash { instead: in_brackets(&format!("{left}-{right}")) };
                return Err(TemplateError::at(position(&op.left), problem));
            }
            BinOpKind::Add
            | BinOpKind::Sub
            | BinOpKind::Mul
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => return arithmetic(op.right.span()),
        };
        let comparison = comparison(compared, op.right.span())?;
        if let (Comparison::In, Expr::Const(name), Expr::Var(var)) = (comparison, &op.left, &op.right)
            && var.id == FIELDS
        {
            self.fields.optional.extend(name.value.as_str().map(str::to_owned));
        }
        Ok(ExprKind::Compare(self.boxed(&op.left)?, vec![(comparison, self.expression(&op.right)?)]))
    }

    fn filtered(&mut self, filtered: &ast::Filter<'_>, span: Span) -> Result<ExprKind, TemplateError> {
        let Some(value) = &filtered.expr else {
            return unsupported(span, "a filter without a value", "write a value and | before the filter");
        };
        if filtered.name != "default" {
            return Ok(ExprKind::Filtered(self.boxed(value)?, self.filter(filtered, span)?));
        }
        let [CallArg::Pos(other)] = filtered.args.as_slice() else {
            return unsupported(span, "default without exactly one argument", "write default(\"text\")");
        };
        let pair = self.pair(value, other)?;
        self.mark_optional(&pair.0, span, "default after anything but a field")?;
        Ok(ExprKind::Default(pair))
    }

    /// Converts a filter other than `default`.
    pub(crate) fn filter(&mut self, filter: &ast::Filter<'_>, span: Span) -> Result<Filter, TemplateError> {
        let Some(name) = filters::find(filter.name) else {
            let known = filters::names();
            let nearest = nearest(filter.name, known.iter().copied());
            let problem = Problem::UnknownFilter { name: filter.name.to_owned(), known, nearest };
            return Err(TemplateError::at(span.into(), problem));
        };
        let replace = match (name, filter.args.as_slice()) {
            (filters::REPLACE, [CallArg::Pos(search), CallArg::Pos(replacement)]) => {
                let pair = self.pair(search, replacement)?;
                if matches!(&pair.0.kind, ExprKind::Text(text) if text.expose().is_empty()) {
                    return Err(TemplateError::at(pair.0.at, Problem::EmptySearch));
                }
                Some(pair)
            }
            (filters::REPLACE, _) => {
                let instead = "write replace(\"old\", \"new\")";
                return unsupported(span, "replace without exactly two arguments", instead);
            }
            (_, []) => None,
            _ => return unsupported(span, "an argument of this filter", "it takes only the value before |"),
        };
        Ok(Filter { at: span.into(), name, replace })
    }

    fn test(&mut self, test: &ast::Test<'_>, span: Span) -> Result<ExprKind, TemplateError> {
        if !test.args.is_empty() {
            return unsupported(span, "a test with an argument", "compare with == or !=");
        }
        let tested = self.boxed(&test.expr)?;
        self.mark_optional(&tested, span, "a test of anything but a field")?;
        let (at, is_defined) = (tested.at, ExprKind::IsDefined(tested));
        match test.name {
            "defined" => Ok(is_defined),
            "undefined" => Ok(ExprKind::Not(Box::new(Expression { at, kind: is_defined }))),
            name => Err(TemplateError::at(span.into(), Problem::UnknownTest { name: name.to_owned() })),
        }
    }

    /// Marks a field as optional, because the template checks whether it exists.
    fn mark_optional(
        &mut self,
        expression: &Expression,
        span: Span,
        what: &'static str,
    ) -> Result<(), TemplateError> {
        match &expression.kind {
            ExprKind::Name(name) | ExprKind::Field(name) => {
                self.fields.optional.insert(name.clone());
                Ok(())
            }
            ExprKind::Reference(name) => {
                self.references.optional.insert(name.clone());
                Ok(())
            }
            ExprKind::Item(_) => Ok(()),
            _ => unsupported(span, what, "everything else is always defined"),
        }
    }
}

fn text_constant<'e>(expr: &'e Expr<'_>) -> Option<&'e str> {
    if let Expr::Const(constant) = expr { constant.value.as_str() } else { None }
}

/// The parts of `a.b["c"]`: `a`, `b` and `c`.
fn parts_of_name<'e>(expr: &'e Expr<'_>, parts: &mut Vec<&'e str>) -> Result<(), TemplateError> {
    match expr {
        Expr::Var(var) => parts.push(var.id),
        Expr::GetAttr(attr) => {
            parts_of_name(&attr.expr, parts)?;
            parts.push(attr.name);
        }
        Expr::GetItem(item) => {
            let Some(name) = text_constant(&item.subscript_expr) else {
                return unsupported(expr.span(), "[ ]", "write the name of a field in it, in quotes");
            };
            parts_of_name(&item.expr, parts)?;
            parts.push(name);
        }
        other => return unsupported(other.span(), "a dot", "only names of fields can have it"),
    }
    Ok(())
}

/// The name that was probably meant if a `-` follows or precedes this expression. The parser reads `db-user` as a subtraction.
fn dashed_name(expr: &Expr<'_>) -> Option<String> {
    match expr {
        Expr::BinOp(op) if matches!(op.op, BinOpKind::Sub) => {
            Some(format!("{}-{}", dashed_name(&op.left)?, dashed_name(&op.right)?))
        }
        Expr::Const(constant) if constant.value.kind() == ValueKind::Number => {
            Some(constant.value.to_string())
        }
        // Filters and tests bind more tightly than the `-`.
        Expr::Filter(filtered) => dashed_name(filtered.expr.as_ref()?),
        Expr::Test(test) => dashed_name(&test.expr),
        _ => {
            let mut parts = Vec::new();
            parts_of_name(expr, &mut parts).ok()?;
            Some(parts.join("."))
        }
    }
}

/// A name in the form that may contain any characters: `fields["db-user"]` or `credentials["my-db"]["password"]`.
fn in_brackets(name: &str) -> String {
    let reference = name.strip_prefix(CREDENTIALS).and_then(|rest| rest.strip_prefix('.'));
    if let Some((credential, field)) = reference.and_then(|reference| reference.split_once('.')) {
        return format!("{CREDENTIALS}[{}][{}]", Quoted(credential), Quoted(field));
    }
    let field = name.strip_prefix(FIELDS).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
    format!("{FIELDS}[{}]", Quoted(field))
}

fn arithmetic<T>(span: Span) -> Result<T, TemplateError> {
    unsupported(span, "arithmetic", "values are text; concatenate them with ~")
}

fn comparison(op: CompareOpKind, span: Span) -> Result<Comparison, TemplateError> {
    match op {
        CompareOpKind::Eq => Ok(Comparison::Equal),
        CompareOpKind::Ne => Ok(Comparison::Different),
        CompareOpKind::In => Ok(Comparison::In),
        CompareOpKind::NotIn => Ok(Comparison::NotIn),
        CompareOpKind::Lt | CompareOpKind::Lte | CompareOpKind::Gt | CompareOpKind::Gte => {
            unsupported(span, "comparing with < or >", "values are text; use ==, != or in")
        }
    }
}

/// Numbers become text in their shortest form, because the parser does not keep their spelling.
fn constant_kind(constant: &ast::Const, span: Span) -> Result<ExprKind, TemplateError> {
    match constant.value.kind() {
        ValueKind::Bool => Ok(ExprKind::Bool(constant.value.is_true())),
        ValueKind::String => Ok(ExprKind::Text(constant.value.as_str().unwrap_or_default().into())),
        ValueKind::Number => Ok(ExprKind::Text(constant.value.to_string().as_str().into())),
        _ => unsupported(span, "none", "write \"\", or test with is defined"),
    }
}

/// The start of an expression. The parser's span of some expressions starts at the operator.
fn position(expr: &Expr<'_>) -> Position {
    match expr {
        Expr::BinOp(op) => position(&op.left),
        Expr::Compare(chain) => position(&chain.expr),
        Expr::IfExpr(choice) => position(&choice.true_expr),
        Expr::Test(test) => position(&test.expr),
        Expr::GetAttr(attr) => position(&attr.expr),
        Expr::GetItem(item) => position(&item.expr),
        other => other.span().into(),
    }
}

pub(crate) fn unsupported<T>(
    span: Span,
    what: &'static str,
    instead: &'static str,
) -> Result<T, TemplateError> {
    Err(TemplateError::at(span.into(), Problem::Unsupported { what, instead }))
}
