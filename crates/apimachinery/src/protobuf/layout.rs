//! Fields of a message in the order of their numbers, with the messages that Go embeds and JSON inlines.

use std::sync::OnceLock;

use crate::schema::{TypeDef, TypeId, TypeTable};

/// The one type that refers to itself through `JSONSchemaPropsOr...`.
pub(crate) const JSON_SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// What stands at a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A field of the struct, by its place in the type.
    Field(usize),
    /// An embedded message with fields of the same struct.
    Message(Layout),
}

/// Nodes by number.
pub(crate) type Layout = Vec<(u32, Node)>;

/// Layouts of all types of a table, made when they are first needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layouts(OnceLock<Vec<Layout>>);

impl Layouts {
    /// The layout of a type.
    pub(crate) fn of<'a>(&'a self, table: &TypeTable, id: TypeId) -> &'a Layout {
        let all = self.0.get_or_init(|| table.types().iter().map(layout).collect());
        &all[id.0 as usize]
    }
}

fn layout(def: &TypeDef) -> Layout {
    let mut root = Layout::new();
    for (at, field) in def.fields.iter().enumerate() {
        let numbers = field.wire.proto.numbers();
        let Some((last, outer)) = numbers.split_last() else { continue };
        let mut level = &mut root;
        for number in outer {
            level = embedded(level, u32::from(*number));
        }
        level.push((u32::from(*last), Node::Field(at)));
    }
    sort(&mut root);
    root
}

fn embedded(level: &mut Layout, number: u32) -> &mut Layout {
    let is_it = |(known, node): &(u32, Node)| *known == number && matches!(node, Node::Message(_));
    let at = level.iter().position(is_it).unwrap_or_else(|| {
        level.push((number, Node::Message(Layout::new())));
        level.len() - 1
    });
    match &mut level[at].1 {
        Node::Message(inner) => inner,
        Node::Field(_) => unreachable!("found or made as a message"),
    }
}

fn sort(level: &mut Layout) {
    level.sort_by_key(|(number, _)| *number);
    for (_, node) in level {
        if let Node::Message(inner) = node {
            sort(inner);
        }
    }
}

/// What stands at a number.
pub(crate) fn find(layout: &Layout, number: u32) -> Option<&Node> {
    layout.binary_search_by_key(&number, |(known, _)| *known).ok().map(|at| &layout[at].1)
}
