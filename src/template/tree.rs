//! The syntax tree that is rendered: the minijinja language without the parts whose output or run time has no bound.

use crate::secret::SecretBytes;
use crate::template::error::Position;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) at: Position,
    pub(crate) name: &'static str,
}
