//! Parses a template to the syntax tree that is rendered: the minijinja language without the parts whose output or run time has no
//! bound. minijinja's lexer and parser are the only parts of minijinja that podcreds uses. This module and `expression` convert its
//! syntax tree to ours and reject what is not supported, each with an alternative.

use minijinja::machinery::ast::{self, Expr, Stmt};
use minijinja::machinery::{self, Span, Token};
use minijinja::syntax::SyntaxConfig;

use crate::secret::SecretBytes;
use crate::template::error::{Problem, TemplateError};
use crate::template::expression::{FIELDS, Names, TreeBuilder, unsupported};
use crate::template::{Delimiters, TEXT_LIMIT};
use crate::text::Position;
use crate::text::one_line;

/// Text is stored as secret bytes, because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Text(Position, SecretBytes),
    Print(Expression),
    If { condition: Expression, then: Vec<Self>, otherwise: Vec<Self> },
    For(For),
    Set { name: String, value: Expression },
    SetBlock { at: Position, name: String, body: Vec<Self>, filters: Vec<Filter> },
}

/// A loop over all fields, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct For {
    pub(crate) at: Position,
    /// The loop variable for the field's name.
    pub(crate) name: String,
    /// The loop variable for its value.
    pub(crate) value: Option<String>,
    pub(crate) body: Vec<Statement>,
    /// The `else` branch, rendered if there are no fields.
    pub(crate) otherwise: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) at: Position,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExprKind {
    Text(SecretBytes),
    Bool(bool),
    /// A variable of the template or, if there is none, a field.
    Name(String),
    /// A field, even if a variable has the same name.
    Field(String),
    /// A field of another credential, as `NAME.FIELD`. Names of credentials contain no dot.
    Reference(String),
    /// A field whose name is computed.
    Item(Box<Expression>),
    /// All fields.
    Fields,
    Loop(LoopAttribute),
    Not(Box<Expression>),
    And(Box<(Expression, Expression)>),
    Or(Box<(Expression, Expression)>),
    /// A chain, as in `a == b == c`: each operand is compared with the previous one.
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    IfExpr(Box<IfExpr>),
    Concat(Vec<Expression>),
    Filtered(Box<Expression>, Filter),
    /// A field, or the second expression if the field does not exist.
    Default(Box<(Expression, Expression)>),
    /// Whether the field exists.
    IsDefined(Box<Expression>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IfExpr {
    pub(crate) condition: Expression,
    pub(crate) then: Expression,
    pub(crate) otherwise: Option<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Different,
    In,
    NotIn,
}

/// An attribute of `loop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopAttribute {
    First,
    Last,
    Index,
    Index0,
    Length,
}

impl LoopAttribute {
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("first", Self::First),
        ("last", Self::Last),
        ("index", Self::Index),
        ("index0", Self::Index0),
        ("length", Self::Length),
    ];
}

/// A known filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) at: Position,
    pub(crate) name: &'static str,
    /// The arguments of `replace`: the text to search for, and its replacement. `None` means another filter.
    pub(crate) replace: Option<Box<(Expression, Expression)>>,
}

/// The maximum number of tokens between two delimiters, and of `elif` branches: the parser recurses for each of them. It limits
/// nested brackets and blocks itself.
const TAG_LIMIT: usize = 200;
const ELIF_LIMIT: usize = 100;

/// The maximum length of a parser message, in characters.
const MESSAGE_LIMIT: usize = 120;

#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) statements: Vec<Statement>,
    pub(crate) fields: Names,
    /// Fields of other credentials, as `NAME.FIELD`.
    pub(crate) references: Names,
}

/// Parses a template.
///
/// # Errors
/// See [`crate::template::Template::parse`].
pub(crate) fn parse(text: &str, delimiters: &Delimiters) -> Result<Parsed, TemplateError> {
    match text.len() {
        0 => return Err(TemplateError::whole(Problem::Empty)),
        1..=TEXT_LIMIT => {}
        _ => return Err(TemplateError::too_long(TEXT_LIMIT)),
    }
    let syntax_error = |error| syntax_error(text, delimiters, &error);
    let syntax = delimiters.syntax().map_err(syntax_error)?;
    check_depth(text, &syntax, syntax_error)?;
    let parsed = machinery::parse(text, "", syntax).map_err(syntax_error)?;
    let mut builder = TreeBuilder::default();
    let Stmt::Template(template) = parsed else { return Ok(Parsed::default()) };
    let statements = builder.statements(&template.children)?;
    Ok(Parsed { statements, fields: builder.fields, references: builder.references })
}

/// Rejects templates that would overflow the stack of the parser.
fn check_depth(
    text: &str,
    syntax: &SyntaxConfig,
    syntax_error: impl Fn(minijinja::Error) -> TemplateError,
) -> Result<(), TemplateError> {
    let too_deep = |span: Span, what, limit| TemplateError::at(span.into(), Problem::TooDeep { what, limit });
    let (mut in_tag, mut elifs) = (0, 0);
    for token in machinery::tokenize(text, false, syntax.clone()) {
        let (token, span) = token.map_err(&syntax_error)?;
        in_tag += 1;
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => in_tag = 0,
            Token::Ident("elif") => elifs += 1,
            _ => {}
        }
        if in_tag > TAG_LIMIT {
            return Err(too_deep(span, "tokens between two delimiters", TAG_LIMIT));
        }
        if elifs > ELIF_LIMIT {
            return Err(too_deep(span, "elif", ELIF_LIMIT));
        }
    }
    Ok(())
}

/// Converts an error of the parser, whose messages contain no string literals.
fn syntax_error(text: &str, delimiters: &Delimiters, error: &minijinja::Error) -> TemplateError {
    let message =
        error.detail().map_or_else(|| error.kind().to_string(), |detail| one_line(detail, MESSAGE_LIMIT));
    let offset = error.range().map_or(0, |range| range.start);
    let is_helm = *delimiters == Delimiters::default() && has_helm_expression(text);
    TemplateError::at(Position::from_offset(text, offset), Problem::Syntax { message, is_helm })
}

/// Whether an expression contains a word that begins with `.` or `$`, which only Helm's template language allows:
/// `{{ .Values.host }}`, `{{- if $x }}`, `{{ include "name" . }}`.
fn has_helm_expression(text: &str) -> bool {
    let mut is_inside = false;
    text.as_bytes().windows(3).any(|bytes| match bytes {
        [b'{', b'{', next] => {
            is_inside = true;
            matches!(next, b'.' | b'$')
        }
        [b'}', b'}', _] => {
            is_inside = false;
            false
        }
        [b' ' | b'\n' | b'(' | b'-' | b'|', b'.' | b'$', next] => is_inside && !next.is_ascii_digit(),
        _ => false,
    })
}

impl TreeBuilder {
    fn statements(&mut self, statements: &[Stmt<'_>]) -> Result<Vec<Statement>, TemplateError> {
        statements.iter().map(|statement| self.statement(statement)).collect()
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<Statement, TemplateError> {
        const ALTERNATIVES: &str = "use if, for or set";
        Ok(match statement {
            Stmt::EmitRaw(text) => Statement::Text(text.span().into(), text.raw.into()),
            Stmt::EmitExpr(print) => Statement::Print(self.expression(&print.expr)?),
            Stmt::IfCond(branch) => Statement::If {
                condition: self.expression(&branch.expr)?,
                then: self.statements(&branch.true_body)?,
                otherwise: self.statements(&branch.false_body)?,
            },
            Stmt::ForLoop(node) => Statement::For(self.for_loop(node, node.span())?),
            Stmt::Set(set) => {
                let value = self.expression(&set.expr)?;
                Statement::Set { name: self.set_target(&set.target)?, value }
            }
            Stmt::SetBlock(set) => Statement::SetBlock {
                at: set.span().into(),
                body: self.statements(&set.body)?,
                filters: set.filter.as_ref().map_or(Ok(Vec::new()), |chain| self.chain(chain))?,
                name: self.set_target(&set.target)?,
            },
            Stmt::WithBlock(other) => return unsupported(other.span(), "with", ALTERNATIVES),
            Stmt::AutoEscape(other) => {
                return unsupported(other.span(), "autoescape", "choose a filter for each value");
            }
            Stmt::FilterBlock(other) => {
                return unsupported(other.span(), "filter", "write {% set text | json %}…{% endset %}");
            }
            Stmt::Do(other) => return unsupported(other.span(), "do", ALTERNATIVES),
            // minijinja is built without the features of all other statements.
            _ => {
                return Err(TemplateError::whole(Problem::Unsupported {
                    what: "a statement",
                    instead: ALTERNATIVES,
                }));
            }
        })
    }

    /// Reads `for name in fields` and `for name, value in fields|items`.
    fn for_loop(&mut self, node: &ast::ForLoop<'_>, span: Span) -> Result<For, TemplateError> {
        if node.recursive {
            return unsupported(span, "recursive", "fields are not nested");
        }
        if let Some(filter) = &node.filter_expr {
            return unsupported(filter.span(), "if after for", "write an if inside the loop");
        }
        let is_fields = |expr: &Expr<'_>| matches!(expr, Expr::Var(var) if var.id == FIELDS);
        let pairs = matches!(&node.iter, Expr::Filter(filter)
            if filter.name == "items" && filter.args.is_empty() && filter.expr.as_ref().is_some_and(is_fields));
        if !pairs && !is_fields(&node.iter) {
            return unsupported(
                node.iter.span(),
                "a loop over anything but the fields",
                "write for name in fields, or for name, value in fields|items",
            );
        }
        let (name, value) = match &node.target {
            Expr::List(names) if pairs && names.items.len() == 2 => {
                (self.set_target(&names.items[0])?, Some(self.set_target(&names.items[1])?))
            }
            name @ Expr::Var(_) if !pairs => (self.set_target(name)?, None),
            other => {
                let instead = "write for name in fields, or for name, value in fields|items";
                return unsupported(other.span(), "this number of names", instead);
            }
        };
        self.loops += 1;
        let body = self.statements(&node.body);
        self.loops -= 1;
        Ok(For { at: span.into(), name, value, body: body?, otherwise: self.statements(&node.else_body)? })
    }

    /// The variable that `set` assigns, or that a loop assigns for its body.
    fn set_target(&mut self, target: &Expr<'_>) -> Result<String, TemplateError> {
        match target {
            Expr::Var(var) if var.id == FIELDS => {
                unsupported(var.span(), "fields as the name of a variable", "that name means all fields")
            }
            Expr::Var(var) => {
                self.fields.optional.insert(var.id.to_owned());
                Ok(var.id.to_owned())
            }
            other => unsupported(other.span(), "an attribute or a list as a variable", "set one name"),
        }
    }

    /// The filters of `{% set name | filter | … %}`, in the order of application.
    fn chain(&mut self, chain: &Expr<'_>) -> Result<Vec<Filter>, TemplateError> {
        let Expr::Filter(outer) = chain else { return Ok(Vec::new()) };
        let mut filters = outer.expr.as_ref().map_or(Ok(Vec::new()), |inner| self.chain(inner))?;
        filters.push(self.filter(outer, outer.span())?);
        Ok(filters)
    }
}
