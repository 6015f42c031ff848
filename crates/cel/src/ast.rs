//! The syntax tree of an expression, macros taken apart, and where its parts stand in the text.

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Number of the part: an index into [`Source::starts`] and into the types that checking finds.
    pub id: usize,
    /// What it is.
    pub kind: Kind,
}

/// Kinds of expressions.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A name.
    Ident(String),
    /// `operand.field`, or `has(operand.field)`.
    Select {
        /// What is looked into.
        operand: Box<Expr>,
        /// The field.
        field: String,
        /// Whether only its presence is asked for.
        test: bool,
    },
    /// A function or operator.
    Call {
        /// Name of the function.
        function: String,
        /// What it is called on.
        target: Option<Box<Expr>>,
        /// The arguments.
        args: Vec<Expr>,
    },
    /// `[a, ?b]`.
    List {
        /// The elements.
        items: Vec<Expr>,
        /// Which of them are there only if they have a value.
        optional: Vec<usize>,
    },
    /// `{k: v}`.
    Map(Vec<Entry>),
    /// `Type{field: value}`.
    Struct {
        /// Name of the type.
        name: String,
        /// The fields.
        fields: Vec<Field>,
    },
    /// A loop.
    Fold(Box<Fold>),
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// A member of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Expr,
    /// The value.
    pub value: Expr,
    /// Whether it is there only if the value is.
    pub optional: bool,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// Number of the part.
    pub id: usize,
    /// Its name.
    pub name: String,
    /// The value.
    pub value: Expr,
    /// Whether it is there only if the value is.
    pub optional: bool,
}

/// A loop over a list or map that accumulates a value.
#[derive(Clone, Debug)]
pub struct Fold {
    /// What is gone through.
    pub range: Expr,
    /// Name of the element, of a map its key; with a second name the index.
    pub variable: String,
    /// Name of the element where the first is that of its key or index.
    pub second: Option<String>,
    /// Name of what is accumulated.
    pub accumulator: String,
    /// Its first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// Its next value.
    pub step: Expr,
    /// What comes of it.
    pub result: Expr,
}

/// The text of an expression.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// As it was written.
    pub text: String,
    /// Where each part begins, in bytes; of calls the opening parenthesis, of operators the operator.
    pub starts: Vec<usize>,
}

impl Source {
    /// Line and column of a place, both from 1, columns in characters.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        (line, before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
    }
}

impl Expr {
    /// `a.b.c` if it is a chain of names.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", operand.qualified_name()?)),
            _ => None,
        }
    }
}
