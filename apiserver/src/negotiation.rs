//! Which encoding and which shape a client wants, and which encoding it sent.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use skiff_apimachinery::status::{self, Status};

pub use crate::printers::partial::MetaVersion;

/// `Content-Type` of JSON.
pub const JSON: &str = "application/json";
/// `Content-Type` of YAML.
pub const YAML: &str = "application/yaml";
/// `Content-Type` of Kubernetes protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What lists can be watched in.
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// How an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `k8s\0` envelope and protobuf.
    Protobuf,
}

impl Encoding {
    /// The media type without parameters.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => JSON,
            Encoding::Yaml => YAML,
            Encoding::Protobuf => PROTOBUF,
        }
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The object as it is.
    Full,
    /// `meta.k8s.io` Table.
    Table(MetaVersion),
    /// Metadata only: `PartialObjectMetadata`, in lists `PartialObjectMetadataList`.
    PartialMetadata(MetaVersion),
}

/// The form in which the client gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Encoding.
    pub encoding: Encoding,
    /// Shape.
    pub shape: Shape,
    /// Whether JSON is indented.
    pub pretty: bool,
}

impl Output {
    /// Compact JSON of the object itself.
    pub const JSON: Output = Output { encoding: Encoding::Json, shape: Shape::Full, pretty: false };
}

/// What an endpoint can offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Whether protobuf exists for the kind.
    pub protobuf: bool,
    /// Whether Table and PartialObjectMetadata are offered.
    pub transforms: bool,
    /// Whether the answer is a collection: `PartialObjectMetadataList` instead of `PartialObjectMetadata`.
    pub collection: bool,
    /// Whether YAML is offered (a watch has no YAML framing).
    pub yaml: bool,
}

/// One clause of an Accept header.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptClause<'a> {
    /// `application`, `*`.
    pub main: &'a str,
    /// `json`, `*`.
    pub sub: &'a str,
    /// Parameters but `q`.
    pub params: Vec<(&'a str, &'a str)>,
    q: f32,
}

impl<'a> AcceptClause<'a> {
    /// A parameter's value.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
    }

    /// Whether the clause covers this media type.
    pub fn covers(&self, media_type: &str) -> bool {
        let (main, sub) = media_type.split_once('/').unwrap_or((media_type, ""));
        (self.main == "*" && self.sub == "*") || (self.main == main && (self.sub == "*" || self.sub == sub))
    }
}

/// Parses an Accept header; clauses in order of preference. Most specific first among equals, as upstream's goautoneg.
pub fn parse_accept(header: &str) -> Vec<AcceptClause<'_>> {
    let mut clauses = header
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let (main, sub) = match parts.next()? {
                "" => return None,
                "*" => ("*", "*"),
                media => media.split_once('/').unwrap_or((media, "*")),
            };
            let mut q = 1.0;
            let mut params = Vec::new();
            for (key, value) in parts.filter_map(|p| p.split_once('=')) {
                match key.trim() {
                    "q" => q = value.trim().parse().unwrap_or(1.0),
                    key => params.push((key, value.trim().trim_matches('"'))),
                }
            }
            Some(AcceptClause { main, sub, params, q })
        })
        .collect::<Vec<_>>();
    let specificity = |c: &AcceptClause<'_>| u8::from(c.main != "*") + u8::from(c.sub != "*");
    clauses.sort_by(|a, b| b.q.total_cmp(&a.q).then_with(|| specificity(b).cmp(&specificity(a))));
    clauses
}

/// Whether an Accept header has one of these media types, or anything. Upstream's router asks this before a request is
/// looked at: weights and partial wildcards mean nothing to it.
fn is_produced(accept: &str, produced: &[&str]) -> bool {
    accept
        .split(',')
        .map(|clause| clause.split(';').next().unwrap_or("").trim())
        .any(|media| media == "*/*" || produced.contains(&media))
}

/// Chooses the output for an Accept header (empty for none); 406 when nothing offered fits.
pub fn negotiate(accept: &str, offer: Offer, pretty: bool) -> Result<Output, Status> {
    // What is asked most needs no list of clauses.
    if matches!(accept, "" | JSON | "*/*") || accept.trim().is_empty() {
        return Ok(Output { pretty, ..Output::JSON });
    }
    let mut produced = vec![JSON, YAML, PROTOBUF];
    if offer.collection {
        produced.extend(STREAMS);
    }
    // Custom resources, which have no protobuf, are not routed one by one.
    if offer.protobuf && !is_produced(accept, &produced) {
        return Err(status::not_produced(&produced));
    }
    for clause in parse_accept(accept) {
        let encodings = [(Encoding::Json, true), (Encoding::Yaml, offer.yaml), (Encoding::Protobuf, offer.protobuf)];
        for (encoding, offered) in encodings {
            if !offered || !clause.covers(encoding.media_type()) {
                continue;
            }
            let shape = shape_of(&clause, offer);
            // Upstream's tables have no protobuf form.
            let shape = shape.filter(|shape| encoding != Encoding::Protobuf || !matches!(shape, Shape::Table(_)));
            if let Some(shape) = shape {
                let pretty = pretty || clause.param("pretty").is_some_and(|v| v != "0");
                return Ok(Output { encoding, shape, pretty });
            }
        }
    }
    Err(status::not_acceptable(&offered_types(offer)))
}

/// Chooses the output of a watch, which is a stream of documents.
pub fn negotiate_watch(accept: &str, protobuf: bool) -> Result<Output, Status> {
    let produced = [JSON, YAML, PROTOBUF, STREAMS[0], STREAMS[1]];
    if protobuf && !accept.trim().is_empty() && !is_produced(accept, &produced) {
        return Err(status::not_produced(&produced));
    }
    let offer = Offer { protobuf, transforms: true, collection: false, yaml: false };
    negotiate(accept, offer, false)
}

fn shape_of(clause: &AcceptClause<'_>, offer: Offer) -> Option<Shape> {
    let kind = match clause.param("as") {
        None | Some("") => return Some(Shape::Full),
        Some(kind) => kind,
    };
    if clause.param("g") != Some("meta.k8s.io") || !offer.transforms {
        return None;
    }
    let version = MetaVersion::parse(clause.param("v").unwrap_or(""))?;
    match (kind, offer.collection) {
        ("Table", _) => Some(Shape::Table(version)),
        ("PartialObjectMetadata", false) | ("PartialObjectMetadataList", true) => Some(Shape::PartialMetadata(version)),
        _ => None,
    }
}

fn offered_types(offer: Offer) -> Vec<&'static str> {
    if !offer.yaml {
        return STREAMS[..if offer.protobuf { 2 } else { 1 }].to_vec();
    }
    let mut types = vec![JSON];
    if offer.yaml {
        types.push(YAML);
    }
    if offer.protobuf {
        types.push(PROTOBUF);
    }
    types
}

/// The encoding of a request body from its `Content-Type`; absent means JSON; 415 for what is not offered.
pub fn body_encoding(content_type: &str, protobuf: bool) -> Result<Encoding, Status> {
    let media = content_type.split(';').next().unwrap_or("").trim();
    match media {
        "" | JSON => Ok(Encoding::Json),
        YAML => Ok(Encoding::Yaml),
        PROTOBUF if protobuf => Ok(Encoding::Protobuf),
        _ => {
            let offer = Offer { protobuf, transforms: false, collection: false, yaml: true };
            Err(status::unsupported_media_type(&offered_types(offer)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { protobuf: true, transforms: true, collection: true, yaml: true };

    fn chosen(accept: &str, offer: Offer) -> Option<(Encoding, Shape)> {
        negotiate(accept, offer, false).ok().map(|o| (o.encoding, o.shape))
    }

    #[test]
    fn kubectl_get_wants_a_table() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(chosen(accept, ALL), Some((Encoding::Json, Shape::Table(MetaVersion::V1))));
        let without = Offer { transforms: false, ..ALL };
        assert_eq!(chosen(accept, without), Some((Encoding::Json, Shape::Full)));
    }

    #[test]
    fn order_weights_and_wildcards() {
        let cases = [
            ("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Protobuf, Shape::Full))),
            ("application/yaml;q=0.5, application/json;q=0.9", Some((Encoding::Json, Shape::Full))),
            ("*/*", Some((Encoding::Json, Shape::Full))),
            ("application/*", None),
            ("", Some((Encoding::Json, Shape::Full))),
            ("text/html", None),
            ("text/html, application/json", Some((Encoding::Json, Shape::Full))),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None),
            ("application/json;as=Table;v=v1", None),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Some((Encoding::Json, Shape::Table(MetaVersion::V1)))),
            ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", None),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                Some((Encoding::Json, Shape::PartialMetadata(MetaVersion::V1))),
            ),
        ];
        for (accept, want) in cases {
            assert_eq!(chosen(accept, ALL), want, "{accept}");
        }
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(chosen(table, ALL), None, "tables have no protobuf form");
        assert_eq!(chosen(&format!("{table},application/json"), ALL), Some((Encoding::Json, Shape::Full)));
        let crd = Offer { protobuf: false, ..ALL };
        assert_eq!(chosen("application/vnd.kubernetes.protobuf", crd), None);
    }

    /// What kube-apiserver v1.36.2 answers.
    #[test]
    fn refusals_name_what_there_is() {
        let refusal = |accept, offer| negotiate(accept, offer, false).expect_err(accept).message;
        let known = "only the following media types are accepted: ";
        let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let object = Offer { collection: false, ..ALL };
        assert_eq!(refusal("text/html", object), format!("406: Not Acceptable\n\nAvailable representations: {all}"));
        assert_eq!(refusal("application/json;as=Other;v=v1;g=meta.k8s.io", ALL), format!("{known}{all}"));
        let watch = Offer { yaml: false, ..ALL };
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(refusal("application/yaml", watch), format!("{known}{streams}"));
    }

    #[test]
    fn content_types() {
        assert_eq!(body_encoding("", true), Ok(Encoding::Json));
        assert_eq!(body_encoding("application/json; charset=utf-8", true), Ok(Encoding::Json));
        assert_eq!(body_encoding(PROTOBUF, true), Ok(Encoding::Protobuf));
        assert_eq!(body_encoding(PROTOBUF, false).unwrap_err().code, 415);
        assert_eq!(body_encoding("text/plain", true).unwrap_err().code, 415);
    }
}
