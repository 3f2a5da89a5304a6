//! A template as it is rendered: what the language of minijinja has, less what would let it grow without bound.

use crate::secret::SecretBytes;
use crate::template::error::Position;

/// What stands outside of an expression. Text is kept like a value: somebody may have put a password there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Text(Position, SecretBytes),
    Print(Expression),
    If { condition: Expression, then: Vec<Self>, otherwise: Vec<Self> },
    For(For),
    Set { name: String, value: Expression },
    SetBlock { at: Position, name: String, body: Vec<Self>, filters: Vec<Filter> },
}

/// A loop over all fields, in order of name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct For {
    pub(crate) at: Position,
    /// What each field's name is called in the body.
    pub(crate) name: String,
    /// What its value is called.
    pub(crate) value: Option<String>,
    pub(crate) body: Vec<Statement>,
    /// What is written where there is no field.
    pub(crate) otherwise: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(SecretBytes),
    Truth(bool),
    /// A name that the template has set, or a field.
    Name(String),
    /// A field by its name, whatever the template has set.
    Field(String),
    /// A field whose name is a value.
    Item(Box<Expression>),
    /// All fields.
    Fields,
    Loop(LoopPart),
    Not(Box<Expression>),
    And(Box<(Expression, Expression)>),
    Or(Box<(Expression, Expression)>),
    /// Each with the one before it.
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    Choice(Box<Choice>),
    /// Texts, one after the other.
    Join(Vec<Expression>),
    Filtered(Box<Expression>, Filter),
    /// A field, or where there is none something else.
    Default(Box<(Expression, Expression)>),
    /// Whether there is such a field.
    IsDefined(Box<Expression>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
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

/// What a loop knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopPart {
    First,
    Last,
    Index,
    Index0,
    Length,
}

impl LoopPart {
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("first", Self::First),
        ("last", Self::Last),
        ("index", Self::Index),
        ("index0", Self::Index0),
        ("length", Self::Length),
    ];
}

/// A filter that there is, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) at: Position,
    pub(crate) name: &'static str,
}
