//! From text to the tree that is rendered. The lexer and parser are minijinja's; nothing else of it is used, and nowhere else.
//! What these templates do not have is refused here, with what to write instead.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use minijinja::machinery::{self, Span, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;

use crate::quote::one_line;
use crate::template::delimiters::Delimiters;
use crate::template::error::{Position, Problem, TemplateError};
use crate::template::tree::{Choice, Comparison, Expression, Filter, For, Kind, LoopPart, Statement};
use crate::template::{TEXT_LIMIT, filters};

/// The most words and signs between two marks, and the most `elif`: the parser goes one deeper on the stack for each. What lies
/// in brackets and in blocks it bounds itself.
const TAG_LIMIT: usize = 200;
const ELIF_LIMIT: usize = 100;

/// The most of what the parser says that a message repeats, in characters.
const SAID_LIMIT: usize = 120;

/// The name of all fields.
const FIELDS: &str = "fields";

/// A template that was read.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) statements: Vec<Statement>,
    /// The names that it uses, each with its first place.
    pub(super) used: BTreeMap<String, Position>,
    /// Those among them that may be no field: the template sets them, or tests whether they are there.
    pub(super) excused: BTreeSet<String>,
}

/// Reads a template.
///
/// # Errors
/// See [`crate::template::Template::parse`].
pub(super) fn parse(text: &str, delimiters: &Delimiters) -> Result<Parsed, TemplateError> {
    match text.len() {
        0 => return Err(TemplateError::of_all(Problem::Empty)),
        1..=TEXT_LIMIT => {}
        _ => return Err(TemplateError::of_all(Problem::TooLong { limit: TEXT_LIMIT })),
    }
    let syntax_error = |error| syntax_error(text, &error);
    let syntax = delimiters.syntax().map_err(syntax_error)?;
    bound(text, &syntax)?;
    let parsed = machinery::parse(text, "", syntax).map_err(syntax_error)?;
    let mut reader = Reader::default();
    let Stmt::Template(template) = parsed else { return Ok(reader.parsed) };
    reader.parsed.statements = reader.statements(&template.children)?;
    Ok(reader.parsed)
}

/// Refuses what would take more of the stack than there is.
fn bound(text: &str, syntax: &SyntaxConfig) -> Result<(), TemplateError> {
    let too_deep = |span: Span, what, limit| TemplateError::at(span.into(), Problem::TooDeep { what, limit });
    let (mut in_tag, mut elifs) = (0, 0);
    for token in machinery::tokenize(text, false, syntax.clone()) {
        let (token, span) = token.map_err(|error| syntax_error(text, &error))?;
        in_tag += 1;
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => in_tag = 0,
            Token::Ident("elif") => elifs += 1,
            _ => {}
        }
        if in_tag > TAG_LIMIT {
            return Err(too_deep(span, "words and signs between two marks", TAG_LIMIT));
        }
        if elifs > ELIF_LIMIT {
            return Err(too_deep(span, "elif", ELIF_LIMIT));
        }
    }
    Ok(())
}

/// What the parser says, and where. It knows no values, and repeats no text between quotes.
fn syntax_error(text: &str, error: &minijinja::Error) -> TemplateError {
    let said = error.detail().map_or_else(|| error.kind().to_string(), |said| one_line(said, SAID_LIMIT));
    let offset = error.range().map_or(0, |range| range.start);
    TemplateError::at(Position::of(text, offset), Problem::Syntax { said })
}

fn unsupported<T>(span: Span, what: &'static str, instead: &'static str) -> Result<T, TemplateError> {
    Err(TemplateError::at(span.into(), Problem::Unsupported { what, instead }))
}

/// Goes over what the parser made.
#[derive(Default)]
struct Reader {
    parsed: Parsed,
    /// In how many loops it is.
    loops: usize,
}

impl Reader {
    fn statements(&mut self, statements: &[Stmt<'_>]) -> Result<Vec<Statement>, TemplateError> {
        statements.iter().map(|statement| self.statement(statement)).collect()
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<Statement, TemplateError> {
        const THERE_ARE: &str = "there are if, for and set";
        Ok(match statement {
            Stmt::EmitRaw(text) => Statement::Text(text.span().into(), text.raw.into()),
            Stmt::EmitExpr(print) => Statement::Print(self.expression(&print.expr)?),
            Stmt::IfCond(branch) => Statement::If {
                condition: self.expression(&branch.expr)?,
                then: self.statements(&branch.true_body)?,
                otherwise: self.statements(&branch.false_body)?,
            },
            Stmt::ForLoop(each) => Statement::For(self.each(each, each.span())?),
            Stmt::Set(set) => {
                let value = self.expression(&set.expr)?;
                Statement::Set { name: self.bind(&set.target)?, value }
            }
            Stmt::SetBlock(set) => Statement::SetBlock {
                at: set.span().into(),
                body: self.statements(&set.body)?,
                filters: set.filter.as_ref().map_or(Ok(Vec::new()), |chain| self.chain(chain))?,
                name: self.bind(&set.target)?,
            },
            Stmt::WithBlock(other) => return unsupported(other.span(), "with", THERE_ARE),
            Stmt::AutoEscape(other) => {
                return unsupported(other.span(), "autoescape", "each value has the filter of its reader");
            }
            Stmt::FilterBlock(other) => {
                return unsupported(other.span(), "filter", "write {% set text | json %}…{% endset %}");
            }
            Stmt::Do(other) => return unsupported(other.span(), "do", THERE_ARE),
            // The parser was built without the others.
            _ => {
                return Err(TemplateError::of_all(Problem::Unsupported {
                    what: "a statement",
                    instead: THERE_ARE,
                }));
            }
        })
    }

    /// Reads `for name in fields` and `for name, value in fields|items`.
    fn each(&mut self, each: &ast::ForLoop<'_>, span: Span) -> Result<For, TemplateError> {
        if each.recursive {
            return unsupported(span, "recursive", "fields have no parts to go into");
        }
        if let Some(filter) = &each.filter_expr {
            return unsupported(filter.span(), "if behind for", "write an if inside of the loop");
        }
        let is_fields = |expr: &Expr<'_>| matches!(expr, Expr::Var(var) if var.id == FIELDS);
        let pairs = matches!(&each.iter, Expr::Filter(filter)
            if filter.name == "items" && filter.args.is_empty() && filter.expr.as_ref().is_some_and(is_fields));
        if !pairs && !is_fields(&each.iter) {
            return unsupported(
                each.iter.span(),
                "for over anything but the fields",
                "write for name in fields, or for name, value in fields|items",
            );
        }
        let (name, value) = match &each.target {
            Expr::List(names) if pairs && names.items.len() == 2 => {
                (self.bind(&names.items[0])?, Some(self.bind(&names.items[1])?))
            }
            name @ Expr::Var(_) if !pairs => (self.bind(name)?, None),
            other => {
                let instead = "write for name in fields, or for name, value in fields|items";
                return unsupported(other.span(), "this number of names", instead);
            }
        };
        self.loops += 1;
        let body = self.statements(&each.body);
        self.loops -= 1;
        Ok(For { at: span.into(), name, value, body: body?, otherwise: self.statements(&each.else_body)? })
    }

    /// A name that is set, here or for the body of a loop.
    fn bind(&mut self, target: &Expr<'_>) -> Result<String, TemplateError> {
        match target {
            Expr::Var(var) if var.id == FIELDS => {
                unsupported(var.span(), "fields as a name of your own", "it is the name of all fields")
            }
            Expr::Var(var) => {
                self.parsed.excused.insert(var.id.to_owned());
                Ok(var.id.to_owned())
            }
            other => unsupported(other.span(), "a part or a list here", "set one name"),
        }
    }

    /// The filters of `{% set name | filter | … %}`, the innermost first.
    fn chain(&mut self, chain: &Expr<'_>) -> Result<Vec<Filter>, TemplateError> {
        let Expr::Filter(outer) = chain else { return Ok(Vec::new()) };
        let mut filters = outer.expr.as_ref().map_or(Ok(Vec::new()), |inner| self.chain(inner))?;
        filters.push(filter(outer, outer.span())?);
        Ok(filters)
    }

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

    fn expression(&mut self, expr: &Expr<'_>) -> Result<Expression, TemplateError> {
        let kind = match expr {
            Expr::Const(constant) => constant_kind(constant, constant.span())?,
            Expr::Var(var) if var.id == FIELDS => Kind::Fields,
            Expr::Var(var) => {
                self.uses(var.id, var.span());
                Kind::Name(var.id.to_owned())
            }
            Expr::GetAttr(attr) => self.part(&attr.expr, attr.name, attr.span())?,
            Expr::GetItem(item) => match (&item.expr, &item.subscript_expr) {
                (Expr::Var(var), Expr::Const(name)) if var.id == FIELDS && name.value.as_str().is_some() => {
                    let name = name.value.as_str().unwrap_or_default();
                    self.uses(name, item.span());
                    Kind::Field(name.to_owned())
                }
                (Expr::Var(var), name) if var.id == FIELDS => Kind::Item(self.boxed(name)?),
                (other, _) => return unsupported(other.span(), "[ ]", "only fields[\"name\"] has them"),
            },
            Expr::UnaryOp(op) => match op.op {
                UnaryOpKind::Not => Kind::Not(self.boxed(&op.expr)?),
                UnaryOpKind::Neg => return arithmetic(op.span()),
            },
            Expr::BinOp(op) => self.operation(op)?,
            Expr::Compare(chain) => {
                let first = self.boxed(&chain.expr)?;
                let mut rest = Vec::new();
                for ast::CompareOp { op, expr: right } in &chain.ops {
                    rest.push((comparison(*op, right.span())?, self.expression(right)?));
                }
                Kind::Compare(first, rest)
            }
            Expr::IfExpr(choice) => Kind::Choice(Box::new(Choice {
                condition: self.expression(&choice.test_expr)?,
                then: self.expression(&choice.true_expr)?,
                otherwise: choice.false_expr.as_ref().map(|expr| self.expression(expr)).transpose()?,
            })),
            Expr::Filter(filtered) => self.filtered(filtered, filtered.span())?,
            Expr::Test(test) => self.test(test, test.span())?,
            Expr::Slice(other) => return unsupported(other.span(), "a slice", "values are taken whole"),
            Expr::Call(other) => {
                return unsupported(other.span(), "a call", "there are no functions; filters stand behind |");
            }
            Expr::List(other) => return unsupported(other.span(), "a list", "values are text"),
            Expr::Tuple(other) => return unsupported(other.span(), "a list", "values are text"),
            Expr::Map(other) => return unsupported(other.span(), "a map", "values are text"),
        };
        Ok(Expression { at: position(expr), kind })
    }

    /// `fields.name`, and what a loop knows of itself.
    fn part(&mut self, of: &Expr<'_>, part: &str, span: Span) -> Result<Kind, TemplateError> {
        match of {
            Expr::Var(var) if var.id == FIELDS => {
                self.uses(part, span);
                Ok(Kind::Field(part.to_owned()))
            }
            Expr::Var(var) if var.id == "loop" && self.loops > 0 => {
                match LoopPart::ALL.iter().find(|(name, _)| *name == part) {
                    Some((_, part)) => Ok(Kind::Loop(*part)),
                    None => {
                        unsupported(span, "this part of loop", "it has first, last, index, index0 and length")
                    }
                }
            }
            Expr::Var(var) => {
                Err(TemplateError::at(var.span().into(), Problem::NoParts { name: var.id.to_owned() }))
            }
            other => unsupported(other.span(), "a dot", "only fields.name has one"),
        }
    }

    fn operation(&mut self, op: &ast::BinOp<'_>) -> Result<Kind, TemplateError> {
        let compared = match op.op {
            BinOpKind::ScAnd => return Ok(Kind::And(self.pair(&op.left, &op.right)?)),
            BinOpKind::ScOr => return Ok(Kind::Or(self.pair(&op.left, &op.right)?)),
            BinOpKind::Concat => {
                let mut left = self.expression(&op.left)?;
                let right = self.expression(&op.right)?;
                if let Kind::Join(texts) = &mut left.kind {
                    texts.push(right);
                    return Ok(left.kind);
                }
                return Ok(Kind::Join(vec![left, right]));
            }
            BinOpKind::Eq => CompareOpKind::Eq,
            BinOpKind::Ne => CompareOpKind::Ne,
            BinOpKind::In => CompareOpKind::In,
            BinOpKind::Lt | BinOpKind::Lte | BinOpKind::Gt | BinOpKind::Gte => CompareOpKind::Lt,
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
            self.parsed.excused.extend(name.value.as_str().map(str::to_owned));
        }
        Ok(Kind::Compare(self.boxed(&op.left)?, vec![(comparison, self.expression(&op.right)?)]))
    }

    fn filtered(&mut self, filtered: &ast::Filter<'_>, span: Span) -> Result<Kind, TemplateError> {
        let Some(value) = &filtered.expr else {
            return unsupported(span, "a filter without a value", "a filter stands behind a value and |");
        };
        if filtered.name != "default" {
            return Ok(Kind::Filtered(self.boxed(value)?, filter(filtered, span)?));
        }
        let [CallArg::Pos(other)] = filtered.args.as_slice() else {
            return unsupported(span, "default with other than one value", "write default(\"text\")");
        };
        let pair = self.pair(value, other)?;
        self.excuse(&pair.0, span, "default behind anything but a field")?;
        Ok(Kind::Default(pair))
    }

    fn test(&mut self, test: &ast::Test<'_>, span: Span) -> Result<Kind, TemplateError> {
        if !test.args.is_empty() {
            return unsupported(span, "a test with a value", "compare with == or !=");
        }
        let tested = self.boxed(&test.expr)?;
        self.excuse(&tested, span, "a test of anything but a field")?;
        let (at, is_defined) = (tested.at, Kind::IsDefined(tested));
        match test.name {
            "defined" => Ok(is_defined),
            "undefined" => Ok(Kind::Not(Box::new(Expression { at, kind: is_defined }))),
            name => Err(TemplateError::at(span.into(), Problem::UnknownTest { name: name.to_owned() })),
        }
    }

    /// A field that may be missing, because the template looks whether it is there.
    fn excuse(
        &mut self,
        expression: &Expression,
        span: Span,
        what: &'static str,
    ) -> Result<(), TemplateError> {
        match &expression.kind {
            Kind::Name(name) | Kind::Field(name) => {
                self.parsed.excused.insert(name.clone());
                Ok(())
            }
            Kind::Item(_) => Ok(()),
            _ => unsupported(span, what, "everything else is always there"),
        }
    }

    fn uses(&mut self, name: &str, span: Span) {
        self.parsed.used.entry(name.to_owned()).or_insert_with(|| span.into());
    }
}

fn arithmetic<T>(span: Span) -> Result<T, TemplateError> {
    unsupported(span, "arithmetic", "values are text; ~ puts texts together")
}

fn comparison(op: CompareOpKind, span: Span) -> Result<Comparison, TemplateError> {
    match op {
        CompareOpKind::Eq => Ok(Comparison::Equal),
        CompareOpKind::Ne => Ok(Comparison::Different),
        CompareOpKind::In => Ok(Comparison::In),
        CompareOpKind::NotIn => Ok(Comparison::NotIn),
        CompareOpKind::Lt | CompareOpKind::Lte | CompareOpKind::Gt | CompareOpKind::Gte => {
            unsupported(span, "< and >", "values are text, which has no order here; there are ==, != and in")
        }
    }
}

/// A filter that takes nothing but its value.
fn filter(filter: &ast::Filter<'_>, span: Span) -> Result<Filter, TemplateError> {
    let Some(name) = filters::find(filter.name) else {
        let problem = Problem::UnknownFilter { name: filter.name.to_owned(), known: filters::names() };
        return Err(TemplateError::at(span.into(), problem));
    };
    if filter.args.is_empty() {
        Ok(Filter { at: span.into(), name })
    } else {
        unsupported(span, "( ) behind this filter", "it takes nothing but the value before |")
    }
}

/// A number is the text that it is written as.
fn constant_kind(constant: &ast::Const, span: Span) -> Result<Kind, TemplateError> {
    match constant.value.kind() {
        ValueKind::Bool => Ok(Kind::Truth(constant.value.is_true())),
        ValueKind::String => Ok(Kind::Text(constant.value.as_str().unwrap_or_default().into())),
        ValueKind::Number => Ok(Kind::Text(constant.value.to_string().as_str().into())),
        _ => unsupported(span, "none", "write \"\", or test with is defined"),
    }
}

/// Where an expression begins. The parser's own span of some begins at the sign before it.
fn position(expr: &Expr<'_>) -> Position {
    match expr {
        Expr::BinOp(op) => position(&op.left),
        Expr::Compare(chain) => position(&chain.expr),
        Expr::IfExpr(choice) => position(&choice.true_expr),
        Expr::Test(test) => position(&test.expr),
        other => other.span().into(),
    }
}
