//! From text to the tree that is rendered. The lexer and parser are minijinja's; nothing else of it is used, and nowhere else.
//! What these templates do not have is refused here, with what to write instead.

mod expression;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{self, Expr, Stmt};
use minijinja::machinery::{self, Span, Token};
use minijinja::syntax::SyntaxConfig;

use crate::template::TEXT_LIMIT;
use crate::template::delimiters::Delimiters;
use crate::template::error::{Position, Problem, TemplateError};
use crate::template::parse::expression::{FIELDS, Reader, filter, unsupported};
use crate::template::tree::{Filter, For, Statement};
use crate::text::one_line;

/// The most words and signs between two marks, and the most `elif`: the parser goes one deeper on the stack for each. What lies
/// in brackets and in blocks it bounds itself.
const TAG_LIMIT: usize = 200;
const ELIF_LIMIT: usize = 100;

/// The most of what the parser says that a message repeats, in characters.
const SAID_LIMIT: usize = 120;

/// A template that was read.
#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) statements: Vec<Statement>,
    /// The names that it uses, each with its first place.
    pub(crate) used: BTreeMap<String, Position>,
    /// Those among them that may be no field: the template sets them, or tests whether they are there.
    pub(crate) excused: BTreeSet<String>,
}

/// Reads a template.
///
/// # Errors
/// See [`crate::template::Template::parse`].
pub(crate) fn parse(text: &str, delimiters: &Delimiters) -> Result<Parsed, TemplateError> {
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
    let Stmt::Template(template) = parsed else { return Ok(Parsed::default()) };
    let statements = reader.statements(&template.children)?;
    Ok(Parsed { statements, used: reader.used, excused: reader.excused })
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
                self.excused.insert(var.id.to_owned());
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
}
