//! Renders a template within fixed limits. All intermediate values are overwritten when they are dropped.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::secret::{SecretBuffer, SecretBytes};
use crate::template::error::{Problem, TemplateError};
use crate::template::parse::{Comparison, ExprKind, Expression, Filter, For, LoopAttribute, Statement};
use crate::template::{Fields, filters};
use crate::text::Position;

/// The maximum size of the output and of every intermediate text, in bytes.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The maximum number of bytes that one template writes, filters and compares in total.
pub(crate) const WORK_LIMIT: usize = 16 * 1024 * 1024;
/// How much larger these limits are for placeholders, which may be longer than the values: a template that writes the file must
/// not fail to show it.
const PLACEHOLDER_FACTOR: usize = 16;
/// The maximum number of evaluated statements and expressions; each evaluation in a loop counts.
pub(crate) const STEP_LIMIT: usize = 200_000;

/// Renders a template.
///
/// # Errors
/// See [`crate::template::Template::render`].
pub(crate) fn render(
    statements: &[Statement],
    fields: &Fields<'_>,
    others: &Fields<'_>,
    placeholders: bool,
    work_limit: usize,
) -> Result<SecretBytes, TemplateError> {
    let scopes = vec![BTreeMap::new()];
    let (loops, steps, work) = (Vec::new(), 0, 0);
    let factor = if placeholders { PLACEHOLDER_FACTOR } else { 1 };
    let (work_limit, output_limit) = (work_limit.saturating_mul(factor), OUTPUT_LIMIT * factor);
    let mut renderer =
        Renderer { fields, others, placeholders, scopes, loops, steps, work, work_limit, output_limit };
    let mut out = SecretBuffer::default();
    renderer.statements(statements, &mut out)?;
    Ok(out.finish())
}

/// The value of an expression.
#[derive(Clone)]
enum Value<'a> {
    Borrowed(&'a [u8]),
    Owned(Rc<SecretBytes>),
    Bool(bool),
    Fields,
}

impl Value<'_> {
    fn owned(value: SecretBytes) -> Self {
        Self::Owned(Rc::new(value))
    }

    /// The bytes that the value is written as; `None` means that it is `fields`, which has none.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Borrowed(bytes) => Some(bytes),
            Self::Owned(bytes) => Some(bytes.expose()),
            Self::Bool(true) => Some(b"true"),
            Self::Bool(false) => Some(b"false"),
            Self::Fields => None,
        }
    }
}

/// The state of a running loop.
struct Loop {
    index: usize,
    length: usize,
}

struct Renderer<'a> {
    fields: &'a Fields<'a>,
    /// Fields of other credentials, as `NAME.FIELD`.
    others: &'a Fields<'a>,
    placeholders: bool,
    /// The variables of the template: those outside loops first, then those of each nested loop.
    scopes: Vec<BTreeMap<&'a str, Value<'a>>>,
    loops: Vec<Loop>,
    steps: usize,
    work: usize,
    work_limit: usize,
    output_limit: usize,
}

impl<'a> Renderer<'a> {
    fn statements(
        &mut self,
        statements: &'a [Statement],
        out: &mut SecretBuffer,
    ) -> Result<(), TemplateError> {
        statements.iter().try_for_each(|statement| self.statement(statement, out))
    }

    fn statement(&mut self, statement: &'a Statement, out: &mut SecretBuffer) -> Result<(), TemplateError> {
        match statement {
            Statement::Text(at, text) => {
                self.step(*at)?;
                self.write(*at, text.expose(), out)
            }
            Statement::Print(expression) => {
                let value = self.expression(expression)?;
                let bytes = match &value {
                    // All filters but b64decode return text, so it has decoded these bytes if they are binary.
                    Value::Owned(bytes) => bytes.expose(),
                    value => text(value, expression)?.as_bytes(),
                };
                self.write(expression.at, bytes, out)
            }
            Statement::If { condition, then, otherwise } => {
                let chosen = if self.is_true(condition)? { then } else { otherwise };
                self.statements(chosen, out)
            }
            Statement::For(for_loop) => self.for_loop(for_loop, out),
            Statement::Set { name, value } => {
                let value = self.expression(value)?;
                self.set(name, value);
                Ok(())
            }
            Statement::SetBlock { at, name, body, filters } => {
                self.step(*at)?;
                let mut block = SecretBuffer::default();
                self.statements(body, &mut block)?;
                let block = Value::owned(block.finish());
                let value =
                    filters.iter().try_fold(block, |value, filter| self.filter(filter, &value, None))?;
                self.set(name, value);
                Ok(())
            }
        }
    }

    fn for_loop(&mut self, for_loop: &'a For, out: &mut SecretBuffer) -> Result<(), TemplateError> {
        let fields = self.fields;
        if fields.is_empty() {
            return self.statements(&for_loop.otherwise, out);
        }
        self.loops.push(Loop { index: 0, length: fields.len() });
        for (index, (name, value)) in fields.iter().enumerate() {
            self.step(for_loop.at)?;
            if let Some(current) = self.loops.last_mut() {
                current.index = index;
            }
            // A variable that is set in a loop ends with the iteration, as in minijinja.
            let mut scope = BTreeMap::from([(for_loop.name.as_str(), Value::Borrowed(name.as_bytes()))]);
            scope.extend(
                for_loop.value.as_deref().map(|variable| (variable, Value::Borrowed(value.expose()))),
            );
            self.scopes.push(scope);
            self.statements(&for_loop.body, out)?;
            self.scopes.pop();
        }
        self.loops.pop();
        Ok(())
    }

    fn set(&mut self, name: &'a str, value: Value<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, value);
        }
    }

    fn expression(&mut self, expression: &'a Expression) -> Result<Value<'a>, TemplateError> {
        self.step(expression.at)?;
        Ok(match &expression.kind {
            ExprKind::Text(text) => Value::Borrowed(text.expose()),
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Fields => Value::Fields,
            ExprKind::Loop(attribute) => self.loop_attribute(*attribute),
            ExprKind::Name(_) | ExprKind::Field(_) | ExprKind::Reference(_) | ExprKind::Item(_) => {
                self.look_up(expression)?.ok_or_else(|| self.unknown(expression))?
            }
            ExprKind::Not(inner) => Value::Bool(!self.is_true(inner)?),
            ExprKind::And(pair) => {
                let left = self.expression(&pair.0)?;
                if self.to_bool(&left) { self.expression(&pair.1)? } else { left }
            }
            ExprKind::Or(pair) => {
                let left = self.expression(&pair.0)?;
                if self.to_bool(&left) { left } else { self.expression(&pair.1)? }
            }
            ExprKind::Compare(first, rest) => Value::Bool(self.compare(first, rest)?),
            ExprKind::IfExpr(choice) => match (self.is_true(&choice.condition)?, &choice.otherwise) {
                (true, _) => self.expression(&choice.then)?,
                (false, Some(otherwise)) => self.expression(otherwise)?,
                (false, None) => Value::Borrowed(b""),
            },
            ExprKind::Concat(texts) => {
                let mut joined = SecretBuffer::default();
                for part in texts {
                    let value = self.expression(part)?;
                    self.write(part.at, text(&value, part)?.as_bytes(), &mut joined)?;
                }
                Value::owned(joined.finish())
            }
            ExprKind::Filtered(inner, filter) => {
                let value = self.expression(inner)?;
                self.filter(filter, &value, Some(inner))?
            }
            ExprKind::Default(pair) => match self.look_up(&pair.0)? {
                Some(value) => value,
                None => self.expression(&pair.1)?,
            },
            ExprKind::IsDefined(inner) => Value::Bool(self.look_up(inner)?.is_some()),
        })
    }

    /// The value of a name; `None` means that it is undefined.
    fn look_up(&mut self, expression: &'a Expression) -> Result<Option<Value<'a>>, TemplateError> {
        let fields = self.fields;
        let field = |name: &str| fields.get(name).map(|value| Value::Borrowed(value.expose()));
        Ok(match &expression.kind {
            ExprKind::Name(name) => {
                // Each scope that is searched counts as a step.
                self.steps += self.scopes.len();
                let set = self.scopes.iter().rev().find_map(|scope| scope.get(name.as_str()));
                set.cloned().or_else(|| field(name))
            }
            ExprKind::Field(name) => field(name),
            ExprKind::Reference(name) => {
                self.others.get(name.as_str()).map(|value| Value::Borrowed(value.expose()))
            }
            ExprKind::Item(name) => {
                let value = self.expression(name)?;
                match field(text(&value, name)?) {
                    None if self.placeholders => Some(value),
                    found => found,
                }
            }
            _ => None,
        })
    }

    fn unknown(&self, expression: &Expression) -> TemplateError {
        match &expression.kind {
            ExprKind::Name(name) | ExprKind::Field(name) => {
                TemplateError::unknown_field(expression.at, name, self.fields)
            }
            ExprKind::Reference(name) => TemplateError::unknown_reference(expression.at, name, self.others),
            _ => TemplateError::at(expression.at, Problem::UnknownItem),
        }
    }

    fn loop_attribute(&self, attribute: LoopAttribute) -> Value<'a> {
        // The parser rejects `loop` outside loops.
        let Some(Loop { index, length }) = self.loops.last() else { return Value::Bool(false) };
        let number = |number: usize| Value::owned(number.to_string().as_str().into());
        match attribute {
            LoopAttribute::First => Value::Bool(*index == 0),
            LoopAttribute::Last => Value::Bool(index + 1 == *length),
            LoopAttribute::Index => number(index + 1),
            LoopAttribute::Index0 => number(*index),
            LoopAttribute::Length => number(*length),
        }
    }

    fn compare(
        &mut self,
        first: &'a Expression,
        rest: &'a [(Comparison, Expression)],
    ) -> Result<bool, TemplateError> {
        let (mut before, mut left) = (first, self.expression(first)?);
        for (comparison, expression) in rest {
            let right = self.expression(expression)?;
            let size = |value: &Value<'_>| value.bytes().map_or(0, <[u8]>::len);
            self.work(expression.at, size(&left) + size(&right))?;
            let holds = match comparison {
                Comparison::Equal => left.bytes() == right.bytes(),
                Comparison::Different => left.bytes() != right.bytes(),
                Comparison::In | Comparison::NotIn => {
                    let part = text(&left, before)?;
                    let found = match &right {
                        Value::Fields => self.fields.contains_key(part),
                        whole => text(whole, expression)?.contains(part),
                    };
                    found == (*comparison == Comparison::In)
                }
            };
            if !holds {
                return Ok(false);
            }
            (before, left) = (expression, right);
        }
        Ok(true)
    }

    fn is_true(&mut self, expression: &'a Expression) -> Result<bool, TemplateError> {
        let value = self.expression(expression)?;
        Ok(self.to_bool(&value))
    }

    /// Empty text is false, and so is `fields` without any field.
    fn to_bool(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Bool(value) => *value,
            Value::Fields => !self.fields.is_empty(),
            text => text.bytes().is_some_and(|bytes| !bytes.is_empty()),
        }
    }

    /// Applies a filter to the value of expression `of`; `None` means that it is the value of a `set` block.
    fn filter(
        &mut self,
        filter: &'a Filter,
        value: &Value<'_>,
        of: Option<&Expression>,
    ) -> Result<Value<'a>, TemplateError> {
        let at = of.map_or(filter.at, |of| of.at);
        let bytes = value.bytes().ok_or_else(|| TemplateError::at(at, Problem::NotText))?;
        self.work(at, bytes.len())?;
        within(at, bytes.len(), "bytes of output", self.output_limit)?;
        let error = |problem| match (problem, of) {
            (Problem::Binary { .. }, Some(of)) => binary(of),
            (problem, _) => TemplateError::at(filter.at, problem),
        };
        if let Some(pair) = &filter.replace {
            let text = std::str::from_utf8(bytes).map_err(|_| error(Problem::Binary { field: None }))?;
            return self.replace(filter.at, text, pair);
        }
        let filtered = filters::apply(filter.name, bytes, self.placeholders).map_err(error)?;
        self.work(at, filtered.expose().len())?;
        Ok(Value::owned(filtered))
    }

    /// Replaces each occurrence of a text. The result may be much longer than all texts, so its length counts before it exists.
    fn replace(
        &mut self,
        at: Position,
        whole: &str,
        pair: &'a (Expression, Expression),
    ) -> Result<Value<'a>, TemplateError> {
        let (search, replacement) = (self.expression(&pair.0)?, self.expression(&pair.1)?);
        let (search, replacement) = (text(&search, &pair.0)?, text(&replacement, &pair.1)?);
        if search.is_empty() {
            return Err(TemplateError::at(pair.0.at, Problem::EmptySearch));
        }
        self.work(at, search.len())?;
        let found = whole.matches(search).count();
        let length =
            (whole.len() - found * search.len()).saturating_add(found.saturating_mul(replacement.len()));
        self.work(at, length)?;
        within(at, length, "bytes of output", self.output_limit)?;
        let mut out = SecretBuffer::with_capacity(length);
        for (index, part) in whole.split(search).enumerate() {
            out.push_str(if index == 0 { "" } else { replacement });
            out.push_str(part);
        }
        Ok(Value::owned(out.finish()))
    }

    fn write(&mut self, at: Position, text: &[u8], out: &mut SecretBuffer) -> Result<(), TemplateError> {
        self.work(at, text.len())?;
        within(at, out.len() + text.len(), "bytes of output", self.output_limit)?;
        out.push(text);
        Ok(())
    }

    fn step(&mut self, at: Position) -> Result<(), TemplateError> {
        self.steps += 1;
        within(at, self.steps, "steps", STEP_LIMIT)
    }

    fn work(&mut self, at: Position, bytes: usize) -> Result<(), TemplateError> {
        self.work = self.work.saturating_add(bytes);
        within(at, self.work, "bytes of intermediate text", self.work_limit)
    }
}

fn within(at: Position, count: usize, what: &'static str, limit: usize) -> Result<(), TemplateError> {
    if count > limit { Err(TemplateError::at(at, Problem::TooMuch { what, limit })) } else { Ok(()) }
}

/// The value of an expression as text.
fn text<'v>(value: &'v Value<'_>, expression: &Expression) -> Result<&'v str, TemplateError> {
    let bytes = value.bytes().ok_or_else(|| TemplateError::at(expression.at, Problem::NotText))?;
    std::str::from_utf8(bytes).map_err(|_| binary(expression))
}

fn binary(expression: &Expression) -> TemplateError {
    let field = match &expression.kind {
        ExprKind::Name(name) | ExprKind::Field(name) | ExprKind::Reference(name) => Some(name.clone()),
        _ => None,
    };
    TemplateError::at(expression.at, Problem::Binary { field })
}
