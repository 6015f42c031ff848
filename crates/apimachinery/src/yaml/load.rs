//! The first document of a YAML text as JSON text. Follows `gopkg.in/yaml.v2` and `sigs.k8s.io/yaml`: merge keys, keys
//! that are numbers, and keys that are given twice, of which the last counts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::resolve::{self, Resolved};
use crate::json::{self, DecodeError};
use crate::value::Value;

/// Nodes that aliases may add to a document.
const MAX_ALIASED_NODES: usize = 400_000;
/// Keys given twice that are remembered.
const MAX_REPORTED: usize = 100;
/// What YAML's own tags begin with.
const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// A document.
pub(super) struct Loaded {
    /// As JSON.
    pub(super) json: Vec<u8>,
    /// Keys that were given twice, with their lines.
    pub(super) repeated_keys: Vec<String>,
}

/// A node. Aliases share it.
#[derive(Clone)]
struct Node {
    line: usize,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Scalar(Resolved),
    /// `<<` as a key.
    Merge,
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
    Alias(Rc<Node>),
}

/// Reads the first document.
pub(super) fn to_json(bytes: &[u8]) -> Result<Loaded, DecodeError> {
    let text = text_of(bytes)?;
    let mut reader = Reader { parser: Parser::new_from_str(&text), anchors: HashMap::new() };
    let root = reader.document()?;
    let mut writer = Writer { json: Vec::new(), repeated: Vec::new(), aliases: 0, aliased: 0 };
    match root {
        Some(root) => writer.node(&root)?,
        None => writer.json.extend_from_slice(b"null"),
    }
    // Upstream comes to the inner ones first; that is the order of lines.
    writer.repeated.sort_by_key(|(line, _)| *line);
    let repeated_keys =
        writer.repeated.iter().map(|(line, key)| format!("line {line}: key {key} already set in map")).collect();
    Ok(Loaded { json: writer.json, repeated_keys })
}

/// UTF-8, or UTF-16 with a mark.
fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>, DecodeError> {
    let units: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let text = std::str::from_utf8(bytes);
            return text.map(Cow::Borrowed).map_err(|_| DecodeError("yaml: invalid leading UTF-8 octet".into()));
        }
    };
    let units = bytes[2..].chunks_exact(2).map(|pair| units([pair[0], pair[1]]));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.map(Cow::Owned).map_err(|_| DecodeError("yaml: unexpected low surrogate area".into()))
}

/// Makes nodes of events.
struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), DecodeError> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => {
                    return Err(DecodeError(format!("yaml: line {}: {}", error.marker().line(), error.info())));
                }
                None => return Err(DecodeError("yaml: unexpected end".into())),
            }
        }
    }

    fn document(&mut self) -> Result<Option<Rc<Node>>, DecodeError> {
        loop {
            match self.next()?.0 {
                Event::StreamEnd => return Ok(None),
                Event::DocumentStart(_, version) => {
                    if version.is_some_and(|version| (version.major, version.minor) != (1, 1)) {
                        return Err(DecodeError("yaml: found incompatible YAML document".into()));
                    }
                    let (event, span) = self.next()?;
                    return self.node(event, span).map(Some);
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Rc<Node>, DecodeError> {
        let line = span.start.line();
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (Content::Sequence(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, span) => self.node(event, span)?,
                    };
                    let (event, span) = self.next()?;
                    entries.push((key, self.node(event, span)?));
                }
                (Content::Mapping(entries), anchor)
            }
            Event::Alias(id) => {
                let target = self.anchors.get(&id);
                let target = target.ok_or_else(|| DecodeError("yaml: anchor value contains itself".into()))?;
                (Content::Alias(target.clone()), 0)
            }
            _ => return Err(DecodeError(format!("yaml: line {line}: did not find expected node content"))),
        };
        let node = Rc::new(Node { line, content });
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Content, DecodeError> {
    let own = tag.map(|tag| tag.suffix_in_namespace(YAML_TAGS));
    Ok(match own {
        None if style == ScalarStyle::Plain && text == "<<" => Content::Merge,
        None if style == ScalarStyle::Plain => Content::Scalar(resolve::plain(text)),
        Some(Some(tag)) if tag == "merge" => Content::Merge,
        Some(Some(tag)) => Content::Scalar(resolve::tagged(&tag, text)?),
        None | Some(None) => Content::Scalar(Resolved::Text(text.into())),
    })
}

/// A mapping's entries in the order in which their keys first came.
#[derive(Default)]
struct Entries {
    order: Vec<(String, Rc<Node>)>,
    places: HashMap<String, usize>,
}

/// Writes JSON, following aliases.
struct Writer {
    json: Vec<u8>,
    /// Lines and keys.
    repeated: Vec<(usize, String)>,
    /// Aliases that are open.
    aliases: usize,
    aliased: usize,
}

impl Writer {
    fn node(&mut self, node: &Rc<Node>) -> Result<(), DecodeError> {
        if self.aliases > 0 {
            self.aliased += 1;
            if self.aliased > MAX_ALIASED_NODES {
                return Err(DecodeError("yaml: document contains excessive aliasing".into()));
            }
        }
        match &node.content {
            Content::Scalar(scalar) => self.scalar(scalar),
            Content::Merge => self.scalar(&Resolved::Text("<<".into())),
            Content::Sequence(items) => {
                self.json.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    self.comma(index);
                    self.node(item)?;
                }
                self.json.push(b']');
                Ok(())
            }
            Content::Mapping(entries) => {
                let mut set = Entries::default();
                self.gather(entries, &mut set)?;
                self.json.push(b'{');
                for (index, (key, value)) in set.order.iter().enumerate() {
                    self.comma(index);
                    json::write(&Value::from(key.as_str()), &mut self.json);
                    self.json.push(b':');
                    self.node(value)?;
                }
                self.json.push(b'}');
                Ok(())
            }
            Content::Alias(target) => {
                self.aliases += 1;
                self.node(target)?;
                self.aliases -= 1;
                Ok(())
            }
        }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.json.push(b',');
        }
    }

    fn scalar(&mut self, scalar: &Resolved) -> Result<(), DecodeError> {
        let value = match scalar {
            Resolved::Null => Value::Null,
            Resolved::Bool(value) => Value::Bool(*value),
            Resolved::Int(number) => Value::Int(*number),
            Resolved::Large(number) => {
                self.json.extend_from_slice(number.to_string().as_bytes());
                return Ok(());
            }
            Resolved::Float(number) if number.is_finite() => Value::Float(*number),
            Resolved::Float(number) => {
                let name = if number.is_nan() {
                    "NaN"
                } else if *number > 0.0 {
                    "+Inf"
                } else {
                    "-Inf"
                };
                return Err(DecodeError(format!("json: unsupported value: {name}")));
            }
            Resolved::Text(text) => Value::from(text.as_str()),
        };
        json::write(&value, &mut self.json);
        Ok(())
    }

    /// Adds the entries of a mapping to those that are there already, merged ones in their place.
    fn gather(&mut self, entries: &[(Rc<Node>, Rc<Node>)], set: &mut Entries) -> Result<(), DecodeError> {
        for (key, value) in entries {
            if matches!(key.content, Content::Merge) {
                self.merge(value, set)?;
                continue;
            }
            let (name, shown) = key_text(key)?;
            match set.places.get(&name) {
                Some(place) => {
                    if self.repeated.len() < MAX_REPORTED {
                        self.repeated.push((value.line, shown));
                    }
                    set.order[*place].1 = value.clone();
                }
                None => {
                    set.places.insert(name.clone(), set.order.len());
                    set.order.push((name, value.clone()));
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, value: &Rc<Node>, set: &mut Entries) -> Result<(), DecodeError> {
        let maps = match &value.content {
            // Earlier ones go before later ones.
            Content::Sequence(items) => items.iter().rev().cloned().collect(),
            _ => vec![value.clone()],
        };
        for map in maps {
            let target = match &map.content {
                Content::Alias(target) => target,
                _ => &map,
            };
            let Content::Mapping(entries) = &target.content else {
                return Err(DecodeError("yaml: map merge requires map or sequence of maps as the value".into()));
            };
            self.aliased += entries.len();
            if self.aliased > MAX_ALIASED_NODES {
                return Err(DecodeError("yaml: document contains excessive aliasing".into()));
            }
            self.gather(entries, set)?;
        }
        Ok(())
    }
}

/// A key as JSON has it, and as Go shows it.
fn key_text(key: &Node) -> Result<(String, String), DecodeError> {
    Ok(match &key.content {
        Content::Scalar(Resolved::Text(text)) => (text.clone(), format!("{text:?}")),
        Content::Scalar(Resolved::Bool(value)) => (value.to_string(), value.to_string()),
        Content::Scalar(Resolved::Int(number)) => (number.to_string(), number.to_string()),
        Content::Scalar(Resolved::Large(number)) => (number.to_string(), number.to_string()),
        Content::Scalar(Resolved::Float(number)) => {
            let short = (*number as f32).to_string();
            (short.clone(), short)
        }
        Content::Scalar(Resolved::Null) => {
            return Err(DecodeError("unsupported map key of type: %!s(<nil>), key: <nil>".into()));
        }
        Content::Alias(target) => return key_text(target),
        Content::Merge => ("<<".into(), "\"<<\"".into()),
        Content::Sequence(_) | Content::Mapping(_) => {
            return Err(DecodeError(format!("yaml: line {}: invalid map key", key.line)));
        }
    })
}
