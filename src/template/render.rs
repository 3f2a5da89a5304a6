//! Fills a template with values. Everything that it makes is counted, and overwritten when it is dropped.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::secret::{SecretBuffer, SecretBytes};
use crate::template::error::{Position, Problem, TemplateError};
use crate::template::tree::{Comparison, Expression, Filter, For, Kind, LoopPart, Statement};
use crate::template::{Fields, filters};

/// The most bytes of a file, and of any text on the way to it.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The most bytes that are written, filtered and compared together on the way.
pub(crate) const WORK_LIMIT: usize = 16 * 1024 * 1024;
/// The most statements and expressions that are gone through, each as often as it is.
pub(crate) const STEP_LIMIT: usize = 200_000;

/// Fills a template with values.
///
/// # Errors
/// See [`crate::template::Template::render`].
pub(crate) fn render(
    statements: &[Statement],
    fields: &Fields<'_>,
    stand_ins: bool,
) -> Result<SecretBytes, TemplateError> {
    let scopes = vec![BTreeMap::new()];
    let mut renderer = Renderer { fields, stand_ins, scopes, loops: Vec::new(), steps: 0, work: 0 };
    let mut out = SecretBuffer::default();
    renderer.statements(statements, &mut out)?;
    let out = out.finish();
    if matches!(out.expose().last(), None | Some(b'\n')) {
        return Ok(out);
    }
    let mut ended = SecretBuffer::with_capacity(out.expose().len() + 1);
    ended.push(out.expose());
    ended.push_str("\n");
    Ok(ended.finish())
}

/// What an expression is.
#[derive(Clone)]
enum Value<'a> {
    Given(&'a [u8]),
    Made(Rc<SecretBytes>),
    Truth(bool),
    Fields,
}

impl Value<'_> {
    fn made(value: SecretBytes) -> Self {
        Self::Made(Rc::new(value))
    }

    /// As it is written; none for all fields.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Given(bytes) => Some(bytes),
            Self::Made(bytes) => Some(bytes.expose()),
            Self::Truth(true) => Some(b"true"),
            Self::Truth(false) => Some(b"false"),
            Self::Fields => None,
        }
    }
}

/// A loop that is gone through.
struct Loop {
    index: usize,
    length: usize,
}

struct Renderer<'a> {
    fields: &'a Fields<'a>,
    stand_ins: bool,
    /// What the template has set, for each loop and around all of them.
    scopes: Vec<BTreeMap<&'a str, Value<'a>>>,
    loops: Vec<Loop>,
    steps: usize,
    work: usize,
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
                self.write(expression.at, text(&value, expression)?.as_bytes(), out)
            }
            Statement::If { condition, then, otherwise } => {
                let chosen = if self.is_true(condition)? { then } else { otherwise };
                self.statements(chosen, out)
            }
            Statement::For(each) => self.each(each, out),
            Statement::Set { name, value } => {
                let value = self.expression(value)?;
                self.set(name, value);
                Ok(())
            }
            Statement::SetBlock { at, name, body, filters } => {
                self.step(*at)?;
                let mut block = SecretBuffer::default();
                self.statements(body, &mut block)?;
                let block = Value::made(block.finish());
                let value =
                    filters.iter().try_fold(block, |value, filter| self.filter(*filter, &value, None))?;
                self.set(name, value);
                Ok(())
            }
        }
    }

    fn each(&mut self, each: &'a For, out: &mut SecretBuffer) -> Result<(), TemplateError> {
        let fields = self.fields;
        if fields.is_empty() {
            return self.statements(&each.otherwise, out);
        }
        self.loops.push(Loop { index: 0, length: fields.len() });
        for (index, (name, value)) in fields.iter().enumerate() {
            self.step(each.at)?;
            if let Some(current) = self.loops.last_mut() {
                current.index = index;
            }
            // What is set in a loop is gone when it goes on.
            let mut scope = BTreeMap::from([(each.name.as_str(), Value::Given(name.as_bytes()))]);
            scope.extend(each.value.as_deref().map(|called| (called, Value::Given(value.expose()))));
            self.scopes.push(scope);
            self.statements(&each.body, out)?;
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
            Kind::Text(text) => Value::Given(text.expose()),
            Kind::Truth(truth) => Value::Truth(*truth),
            Kind::Fields => Value::Fields,
            Kind::Loop(part) => self.loop_part(*part),
            Kind::Name(_) | Kind::Field(_) | Kind::Item(_) => match self.look_up(expression)? {
                Some(value) => value,
                None => return Err(self.unknown(expression)),
            },
            Kind::Not(inner) => Value::Truth(!self.is_true(inner)?),
            Kind::And(pair) => {
                let left = self.expression(&pair.0)?;
                if self.truth(&left) { self.expression(&pair.1)? } else { left }
            }
            Kind::Or(pair) => {
                let left = self.expression(&pair.0)?;
                if self.truth(&left) { left } else { self.expression(&pair.1)? }
            }
            Kind::Compare(first, rest) => Value::Truth(self.compare(first, rest)?),
            Kind::Choice(choice) => match (self.is_true(&choice.condition)?, &choice.otherwise) {
                (true, _) => self.expression(&choice.then)?,
                (false, Some(otherwise)) => self.expression(otherwise)?,
                (false, None) => Value::Given(b""),
            },
            Kind::Join(texts) => {
                let mut joined = SecretBuffer::default();
                for each in texts {
                    let value = self.expression(each)?;
                    self.write(each.at, text(&value, each)?.as_bytes(), &mut joined)?;
                }
                Value::made(joined.finish())
            }
            Kind::Filtered(inner, filter) => {
                let value = self.expression(inner)?;
                self.filter(*filter, &value, Some(inner))?
            }
            Kind::Default(pair) => match self.look_up(&pair.0)? {
                Some(value) => value,
                None => self.expression(&pair.1)?,
            },
            Kind::IsDefined(inner) => Value::Truth(self.look_up(inner)?.is_some()),
        })
    }

    /// The value of a name; none if there is none.
    fn look_up(&mut self, expression: &'a Expression) -> Result<Option<Value<'a>>, TemplateError> {
        let fields = self.fields;
        let field = |name: &str| fields.get(name).map(|value| Value::Given(value.expose()));
        Ok(match &expression.kind {
            Kind::Name(name) => {
                // Each scope that is looked through is a step.
                self.steps += self.scopes.len();
                let set = self.scopes.iter().rev().find_map(|scope| scope.get(name.as_str()));
                set.cloned().or_else(|| field(name))
            }
            Kind::Field(name) => field(name),
            Kind::Item(name) => {
                let value = self.expression(name)?;
                match field(text(&value, name)?) {
                    None if self.stand_ins => Some(value),
                    found => found,
                }
            }
            _ => None,
        })
    }

    fn unknown(&self, expression: &Expression) -> TemplateError {
        match &expression.kind {
            Kind::Name(name) | Kind::Field(name) => {
                TemplateError::unknown_name(expression.at, name, self.fields.keys().copied())
            }
            _ => TemplateError::at(expression.at, Problem::UnknownItem),
        }
    }

    fn loop_part(&self, part: LoopPart) -> Value<'a> {
        // The parser lets it through in loops alone.
        let Some(Loop { index, length }) = self.loops.last() else { return Value::Truth(false) };
        let number = |number: usize| Value::made(number.to_string().as_str().into());
        match part {
            LoopPart::First => Value::Truth(*index == 0),
            LoopPart::Last => Value::Truth(index + 1 == *length),
            LoopPart::Index => number(index + 1),
            LoopPart::Index0 => number(*index),
            LoopPart::Length => number(*length),
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
        Ok(self.truth(&value))
    }

    /// Text is true unless it is empty.
    fn truth(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Truth(truth) => *truth,
            Value::Fields => !self.fields.is_empty(),
            text => text.bytes().is_some_and(|bytes| !bytes.is_empty()),
        }
    }

    /// Applies a filter to what an expression is, or a block.
    fn filter(
        &mut self,
        filter: Filter,
        value: &Value<'_>,
        of: Option<&Expression>,
    ) -> Result<Value<'a>, TemplateError> {
        let at = of.map_or(filter.at, |of| of.at);
        let bytes = value.bytes().ok_or_else(|| TemplateError::at(at, Problem::NoText))?;
        self.work(at, bytes.len())?;
        within_output(at, bytes.len())?;
        let made =
            filters::apply(filter.name, bytes, self.stand_ins).map_err(|problem| match (problem, of) {
                (Problem::Binary { .. }, Some(of)) => binary(of),
                (problem, _) => TemplateError::at(filter.at, problem),
            })?;
        self.work(at, made.expose().len())?;
        Ok(Value::made(made))
    }

    fn write(&mut self, at: Position, text: &[u8], out: &mut SecretBuffer) -> Result<(), TemplateError> {
        self.work(at, text.len())?;
        within_output(at, out.len() + text.len())?;
        out.push(text);
        Ok(())
    }

    fn step(&mut self, at: Position) -> Result<(), TemplateError> {
        self.steps += 1;
        within(at, self.steps, "steps", STEP_LIMIT)
    }

    fn work(&mut self, at: Position, bytes: usize) -> Result<(), TemplateError> {
        self.work = self.work.saturating_add(bytes);
        within(at, self.work, "bytes on the way to the file", WORK_LIMIT)
    }
}

fn within_output(at: Position, bytes: usize) -> Result<(), TemplateError> {
    within(at, bytes, "bytes", OUTPUT_LIMIT)
}

fn within(at: Position, count: usize, what: &'static str, limit: usize) -> Result<(), TemplateError> {
    if count > limit { Err(TemplateError::at(at, Problem::TooMuch { what, limit })) } else { Ok(()) }
}

/// The text that an expression is.
fn text<'v>(value: &'v Value<'_>, expression: &Expression) -> Result<&'v str, TemplateError> {
    let bytes = value.bytes().ok_or_else(|| TemplateError::at(expression.at, Problem::NoText))?;
    std::str::from_utf8(bytes).map_err(|_| binary(expression))
}

fn binary(expression: &Expression) -> TemplateError {
    let field = match &expression.kind {
        Kind::Name(name) | Kind::Field(name) => Some(name.clone()),
        _ => None,
    };
    TemplateError::at(expression.at, Problem::Binary { field })
}
