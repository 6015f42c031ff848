//! Sets of field paths.
//!
//! A set is a tree: every node is a step and may itself be a member, have members below it, or both. Nodes are sorted
//! and none is empty, so two sets are combined in one walk. Follows `structured-merge-diff/fieldpath.Set`.

use std::cmp::Ordering;

use super::path::PathElement;
use crate::schema::{SchemaRef, Type};

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    nodes: Vec<Node>,
}

/// One step of a set, and what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The step.
    pub element: PathElement,
    /// Whether the path that ends here is in the set.
    pub member: bool,
    /// Paths that go on from here.
    pub children: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// The schema that paths below this node are about; `None` when there are none or they are untyped.
    fn schema_below<'a>(&self, schema: SchemaRef<'a>) -> Option<SchemaRef<'a>> {
        if self.children.is_empty() {
            return None;
        }
        match &self.element {
            PathElement::Field(name) => schema.member(name),
            _ => schema.item(),
        }
    }
}

impl Set {
    /// The empty set.
    pub const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The first steps, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn position(&self, element: &PathElement) -> Result<usize, usize> {
        // Built in order most of the time: then the new step belongs at the end.
        match self.nodes.last().map(|last| last.element.cmp(element)) {
            None | Some(Ordering::Less) => Err(self.nodes.len()),
            Some(Ordering::Equal) => Ok(self.nodes.len() - 1),
            Some(Ordering::Greater) => self.nodes.binary_search_by(|node| node.element.cmp(element)),
        }
    }

    /// The node of a first step.
    pub fn get(&self, element: &PathElement) -> Option<&Node> {
        self.nodes.binary_search_by(|node| node.element.cmp(element)).ok().map(|i| &self.nodes[i])
    }

    /// Adds a node; what is there already is united with it. An empty node is not added.
    pub fn add(&mut self, node: Node) {
        if node.is_empty() {
            return;
        }
        match self.position(&node.element) {
            Ok(i) => {
                let known = &mut self.nodes[i];
                known.member |= node.member;
                known.children = known.children.union(&node.children);
            }
            Err(i) => self.nodes.insert(i, node),
        }
    }

    /// Adds one path. Its parents are not added.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let i = match self.position(first) {
            Ok(i) => i,
            Err(i) => {
                self.nodes.insert(i, Node { element: first.clone(), member: false, children: Set::new() });
                i
            }
        };
        if rest.is_empty() {
            self.nodes[i].member = true;
        } else {
            self.nodes[i].children.insert(rest);
        }
    }

    /// Adds a path of member names.
    pub fn insert_fields(&mut self, path: &[&str]) {
        let path: Vec<PathElement> = path.iter().map(|name| PathElement::Field((*name).into())).collect();
        self.insert(&path);
    }

    /// Whether a path is in the set.
    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.get(first).is_some_and(|node| node.children.contains(rest)),
        }
    }

    /// Paths in either set.
    pub fn union(&self, other: &Set) -> Set {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other.clone() } else { self.clone() };
        }
        let mut nodes = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        zip(&self.nodes, &other.nodes, |a, b| match (a, b) {
            (Some(a), Some(b)) => nodes.push(Node {
                element: a.element.clone(),
                member: a.member || b.member,
                children: a.children.union(&b.children),
            }),
            (Some(node), None) | (None, Some(node)) => nodes.push(node.clone()),
            (None, None) => {}
        });
        Set { nodes }
    }

    /// Paths in both sets.
    pub fn intersection(&self, other: &Set) -> Set {
        self.combine(other, |a, b| Node {
            element: a.element.clone(),
            member: a.member && b.is_some_and(|b| b.member),
            children: b.map(|b| a.children.intersection(&b.children)).unwrap_or_default(),
        })
    }

    /// Paths of this set that are not in the other. A path stays when only its parent is in the other.
    pub fn difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        self.combine(other, |a, b| match b {
            Some(b) => Node {
                element: a.element.clone(),
                member: a.member && !b.member,
                children: a.children.difference(&b.children),
            },
            None => a.clone(),
        })
    }

    /// Paths of this set that are neither in the other nor below one that is.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        self.combine(other, |a, b| match b {
            Some(b) if b.member => Node { element: a.element.clone(), member: false, children: Set::new() },
            Some(b) => Node {
                element: a.element.clone(),
                member: a.member,
                children: a.children.recursive_difference(&b.children),
            },
            None => a.clone(),
        })
    }

    fn combine(&self, other: &Set, mut rule: impl FnMut(&Node, Option<&Node>) -> Node) -> Set {
        let mut nodes = Vec::new();
        zip(&self.nodes, &other.nodes, |a, b| {
            if let Some(a) = a {
                let node = rule(a, b);
                if !node.is_empty() {
                    nodes.push(node);
                }
            }
        });
        Set { nodes }
    }

    /// Every declared struct field on the way to a member becomes a member too. Maps and elements of lists do not.
    #[must_use]
    pub fn with_named_parents(&self, schema: Option<SchemaRef<'_>>) -> Set {
        let def = schema.and_then(|schema| schema.struct_def());
        let nodes = self.nodes.iter().map(|node| {
            let below = match &node.element {
                PathElement::Field(name) => schema.and_then(|schema| schema.member(name)),
                PathElement::Key(_) => schema.and_then(|schema| schema.item()),
                PathElement::Value(_) | PathElement::Index(_) => None,
            };
            let named = match (&node.element, def) {
                (PathElement::Field(name), Some(def)) => !node.children.is_empty() && def.field(name).is_some(),
                _ => false,
            };
            Node {
                element: node.element.clone(),
                member: node.member || named,
                children: node.children.with_named_parents(below),
            }
        });
        Set { nodes: nodes.collect() }
    }

    /// Whether the sets have a path in common.
    pub fn intersects(&self, other: &Set) -> bool {
        let (mut a, mut b) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            match x.element.cmp(&y.element) {
                Ordering::Less => drop(a.next()),
                Ordering::Greater => drop(b.next()),
                Ordering::Equal if (x.member && y.member) || x.children.intersects(&y.children) => return true,
                Ordering::Equal => {
                    a.next();
                    b.next();
                }
            }
        }
        false
    }

    /// Brings a set in line with a schema in which granular types became atomic: who owned something inside then owns
    /// the whole. `None` when nothing changes.
    pub(super) fn reconciled(&self, schema: SchemaRef<'_>) -> Option<Set> {
        if !self.is_outdated(schema) {
            return None;
        }
        let nodes = self.nodes.iter().map(|node| match node.schema_below(schema) {
            Some(below) if is_atomic(below) => {
                Node { element: node.element.clone(), member: true, children: Set::new() }
            }
            Some(below) => Node {
                element: node.element.clone(),
                member: node.member,
                children: node.children.reconciled(below).unwrap_or_else(|| node.children.clone()),
            },
            None => node.clone(),
        });
        Some(Set { nodes: nodes.collect() })
    }

    fn is_outdated(&self, schema: SchemaRef<'_>) -> bool {
        self.nodes.iter().any(|node| {
            node.schema_below(schema).is_some_and(|below| is_atomic(below) || node.children.is_outdated(below))
        })
    }

    /// Calls `visit` for every path, the members of a level before what is below it.
    pub fn for_each(&self, mut visit: impl FnMut(&[PathElement])) {
        fn walk(set: &Set, path: &mut Vec<PathElement>, visit: &mut impl FnMut(&[PathElement])) {
            for node in set.nodes.iter().filter(|node| node.member) {
                path.push(node.element.clone());
                visit(path);
                path.pop();
            }
            for node in set.nodes.iter().filter(|node| !node.children.is_empty()) {
                path.push(node.element.clone());
                walk(&node.children, path, visit);
                path.pop();
            }
        }
        walk(self, &mut Vec::new(), &mut visit);
    }
}

fn is_atomic(schema: SchemaRef<'_>) -> bool {
    match schema.ty {
        Type::List(list) => list.kind == crate::schema::ListKind::Atomic,
        _ => schema.is_atomic(),
    }
}

/// Walks two sorted lists of nodes side by side.
fn zip<'a>(a: &'a [Node], b: &'a [Node], mut visit: impl FnMut(Option<&'a Node>, Option<&'a Node>)) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.element.cmp(&b.element),
        };
        let left = if order.is_le() { a.next() } else { None };
        let right = if order.is_ge() { b.next() } else { None };
        visit(left, right);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields_v1;
    use super::*;

    fn set(text: &str) -> Set {
        fields_v1::parse(text).expect(text)
    }

    #[test]
    fn combines() {
        // a, b, union, intersection, a - b, a - b and below
        let cases = [
            (r#"{"f:a":{}}"#, r#"{"f:b":{}}"#, r#"{"f:a":{},"f:b":{}}"#, "{}", r#"{"f:a":{}}"#, r#"{"f:a":{}}"#),
            (
                r#"{"f:a":{},"f:c":{}}"#,
                r#"{"f:a":{}}"#,
                r#"{"f:a":{},"f:c":{}}"#,
                r#"{"f:a":{}}"#,
                r#"{"f:c":{}}"#,
                r#"{"f:c":{}}"#,
            ),
            (
                r#"{"f:a":{"f:x":{},"f:y":{}}}"#,
                r#"{"f:a":{"f:y":{},"f:z":{}}}"#,
                r#"{"f:a":{"f:x":{},"f:y":{},"f:z":{}}}"#,
                r#"{"f:a":{"f:y":{}}}"#,
                r#"{"f:a":{"f:x":{}}}"#,
                r#"{"f:a":{"f:x":{}}}"#,
            ),
            // A parent is not its child.
            (
                r#"{"f:a":{"f:x":{}}}"#,
                r#"{"f:a":{}}"#,
                r#"{"f:a":{".":{},"f:x":{}}}"#,
                "{}",
                r#"{"f:a":{"f:x":{}}}"#,
                "{}",
            ),
            (
                r#"{"f:a":{}}"#,
                r#"{"f:a":{"f:x":{}}}"#,
                r#"{"f:a":{".":{},"f:x":{}}}"#,
                "{}",
                r#"{"f:a":{}}"#,
                r#"{"f:a":{}}"#,
            ),
            (
                r#"{"f:a":{".":{},"f:x":{}}}"#,
                r#"{"f:a":{".":{},"f:x":{}}}"#,
                r#"{"f:a":{".":{},"f:x":{}}}"#,
                r#"{"f:a":{".":{},"f:x":{}}}"#,
                "{}",
                "{}",
            ),
            (
                r#"{"f:l":{"k:{\"name\":\"a\"}":{".":{},"f:v":{}},"v:1":{}}}"#,
                r#"{"f:l":{"k:{\"name\":\"a\"}":{}}}"#,
                r#"{"f:l":{"k:{\"name\":\"a\"}":{".":{},"f:v":{}},"v:1":{}}}"#,
                r#"{"f:l":{"k:{\"name\":\"a\"}":{}}}"#,
                r#"{"f:l":{"k:{\"name\":\"a\"}":{"f:v":{}},"v:1":{}}}"#,
                r#"{"f:l":{"v:1":{}}}"#,
            ),
        ];
        for (a, b, union, intersection, difference, recursive) in cases {
            let (x, y) = (set(a), set(b));
            assert_eq!(fields_v1::write(&x.union(&y)), union);
            assert_eq!(fields_v1::write(&y.union(&x)), union);
            assert_eq!(fields_v1::write(&x.intersection(&y)), intersection);
            assert_eq!(fields_v1::write(&x.difference(&y)), difference);
            assert_eq!(fields_v1::write(&x.recursive_difference(&y)), recursive);
        }
    }

    #[test]
    fn iterates_members_first() {
        let mut paths = Vec::new();
        set(r#"{"f:a":{"f:x":{"f:deep":{}}},"f:b":{".":{},"f:y":{}},"f:c":{}}"#)
            .for_each(|path| paths.push(path.iter().map(PathElement::to_string).collect::<String>()));
        assert_eq!(paths, [".b", ".c", ".a.x.deep", ".b.y"]);
    }

    #[test]
    fn knows_its_members() {
        let mut all = Set::new();
        all.insert_fields(&["spec", "replicas"]);
        all.insert_fields(&["metadata", "labels"]);
        all.insert_fields(&["metadata", "labels", "app"]);
        all.insert(&[]);
        assert_eq!(
            fields_v1::write(&all),
            r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{}}}"#
        );
        let field = |name: &str| PathElement::Field(name.into());
        assert!(all.contains(&[field("spec"), field("replicas")]));
        assert!(!all.contains(&[field("spec")]));
        assert!(!all.contains(&[]));
        assert!(all.contains(&[field("metadata"), field("labels")]));
    }
}
