//! Links of what is behind the proxy: in headers and in pages, they lead through the proxy again.
//!
//! Follows `staging/src/k8s.io/apimachinery/pkg/util/proxy/transport.go`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use lol_html::html_content::Element;
use lol_html::send::{HtmlRewriter, Settings};
use lol_html::{MemorySettings, element};

use crate::response::Response;

/// Compressed bytes that are unpacked at a time, so that few of them cannot become very many at once.
const UNPACKED_AT_ONCE: usize = 1024;

/// Memory for the tag that is being read. Longer ones end the page.
const LONGEST_TAG: usize = 1 << 20;

/// Attributes that are links, by their elements.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Where the links of one answer lead.
#[derive(Clone, Debug)]
pub struct Links {
    /// Path of the proxy, without a slash at its end.
    pub prefix: String,
    /// Host, with its port, that was asked behind the proxy.
    pub host: String,
}

impl Links {
    /// The link as it leads through the proxy; `None` if it stays: relative ones and those to other hosts.
    fn rewritten(&self, link: &str) -> Option<String> {
        let rest = link.split_once("://").map_or(Some(link), |(scheme, rest)| {
            let ours = matches!(scheme, "http" | "https") && rest.starts_with(&self.host);
            ours.then(|| &rest[self.host.len()..])
        })?;
        if !rest.starts_with('/') || rest.starts_with("//") {
            return None;
        }
        Some(if rest.starts_with(&self.prefix) { rest.to_owned() } else { format!("{}{rest}", self.prefix) })
    }

    /// Rewrites the answer's `Location`, or else the links of the page it holds.
    pub fn rewrite(&self, answer: Response) -> Response {
        let (mut parts, body) = answer.into_parts();
        if let Some(location) = parts.headers.get(header::LOCATION) {
            let rewritten = location.to_str().ok().and_then(|location| self.rewritten(location));
            if let Some(Ok(location)) = rewritten.map(HeaderValue::try_from) {
                parts.headers.insert(header::LOCATION, location);
            }
            return Response::from_parts(parts, body);
        }
        let Some(coding) = Coding::of_page(&parts.headers) else { return Response::from_parts(parts, body) };
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, self.rewrite_page(coding, body))
    }

    fn rewrite_page(&self, coding: Coding, body: Body) -> Body {
        let page = Page::new(self.clone(), coding);
        let state = (body.into_data_stream(), Bytes::new(), Some(page));
        Body::from_stream(futures::stream::try_unfold(state, async |(mut body, mut piece, page)| {
            let Some(mut page) = page else { return Ok(None) };
            if piece.is_empty() {
                match body.next().await {
                    Some(next) => piece = next.map_err(io::Error::other)?,
                    None => return Ok(Some((page.end()?, (body, piece, None)))),
                }
            }
            let now = piece.split_to(piece.len().min(UNPACKED_AT_ONCE));
            Ok::<_, io::Error>(Some((page.write(&now)?, (body, piece, Some(page)))))
        }))
    }
}

/// How a page is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Deflate,
}

impl Coding {
    /// How an answer is packed, if it is a page and packed in a way that can be opened.
    fn of_page(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        if text(header::CONTENT_TYPE).split(';').next().map(str::trim) != Some("text/html") {
            return None;
        }
        match text(header::CONTENT_ENCODING) {
            "" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            other => {
                tracing::debug!(coding = other, "links of a page stay as they are: its coding is not known");
                None
            }
        }
    }
}

/// A page on its way: opened, rewritten, packed again.
struct Page {
    opened: Opened,
    packed: Arc<Mutex<Packed>>,
}

impl Page {
    fn new(links: Links, coding: Coding) -> Self {
        let packed = Arc::new(Mutex::new(Packed::new(coding)));
        let rewriter = Rewriter::new(links, packed.clone());
        let opened = match coding {
            Coding::Plain => Opened::Plain(rewriter),
            Coding::Gzip => Opened::Gzip(GzDecoder::new(rewriter)),
            Coding::Deflate => Opened::Deflate(DeflateDecoder::new(rewriter)),
        };
        Self { opened, packed }
    }

    /// Takes a piece in, and gives what is ready.
    fn write(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        match &mut self.opened {
            Opened::Plain(rewriter) => rewriter.write_all(piece),
            Opened::Gzip(decoder) => decoder.write_all(piece),
            Opened::Deflate(decoder) => decoder.write_all(piece),
        }?;
        Ok(lock(&self.packed).take())
    }

    /// The rest.
    fn end(self) -> io::Result<Bytes> {
        let rewriter = match self.opened {
            Opened::Plain(rewriter) => rewriter,
            Opened::Gzip(decoder) => decoder.finish()?,
            Opened::Deflate(decoder) => decoder.finish()?,
        };
        rewriter.0.end().map_err(io::Error::other)?;
        lock(&self.packed).end()
    }
}

enum Opened {
    Plain(Rewriter),
    Gzip(GzDecoder<Rewriter>),
    Deflate(DeflateDecoder<Rewriter>),
}

/// Writes to an [`HtmlRewriter`], whose output is packed.
struct Rewriter(HtmlRewriter<'static, Box<dyn FnMut(&[u8]) + Send>>);

impl Rewriter {
    fn new(links: Links, packed: Arc<Mutex<Packed>>) -> Self {
        let rewrite = move |element: &mut Element<'_, '_, _>| {
            let attributes = element.attributes().iter().map(|attribute| (attribute.name(), attribute.value()));
            let changed: Vec<_> =
                attributes.filter_map(|(name, value)| Some((name, links.rewritten(&value)?))).collect();
            for (name, link) in changed {
                if is_link(&element.tag_name(), &name) {
                    element.set_attribute(&name, &link)?;
                }
            }
            Ok(())
        };
        // Strict would refuse whole pages for what browsers put up with.
        let settings = Settings::new_send()
            .append_element_content_handler(element!("*", rewrite))
            .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(LONGEST_TAG))
            .with_strict(false);
        Self(HtmlRewriter::new(settings, Box::new(move |bytes: &[u8]| lock(&packed).write(bytes))))
    }
}

impl Write for Rewriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What goes to the client.
enum Packed {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(DeflateEncoder<Vec<u8>>),
    Ended,
}

impl Packed {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Plain => Self::Plain(Vec::new()),
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Coding::Deflate => Self::Deflate(DeflateEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        // Writing to memory does not fail.
        let _ = match self {
            Self::Plain(buffer) => buffer.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Deflate(encoder) => encoder.write_all(bytes),
            Self::Ended => Ok(()),
        };
    }

    /// What is packed so far.
    fn take(&mut self) -> Bytes {
        Bytes::from(match self {
            Self::Plain(buffer) => std::mem::take(buffer),
            Self::Gzip(encoder) => std::mem::take(encoder.get_mut()),
            Self::Deflate(encoder) => std::mem::take(encoder.get_mut()),
            Self::Ended => Vec::new(),
        })
    }

    fn end(&mut self) -> io::Result<Bytes> {
        Ok(Bytes::from(match std::mem::replace(self, Self::Ended) {
            Self::Plain(buffer) => buffer,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Deflate(encoder) => encoder.finish()?,
            Self::Ended => Vec::new(),
        }))
    }
}

/// Nobody panics while holding it.
fn lock(packed: &Mutex<Packed>) -> std::sync::MutexGuard<'_, Packed> {
    packed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn is_link(element: &str, attribute: &str) -> bool {
    LINKS.iter().any(|(name, attributes)| *name == element && attributes.contains(&attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links { prefix: "/api/v1/namespaces/a/pods/b/proxy".into(), host: "10.0.0.1:80".into() }
    }

    #[test]
    fn links_to_the_host_lead_through_the_proxy() {
        let below = |path: &str| Some(format!("{}{path}", links().prefix));
        for (link, want) in [
            ("/x?y#z", below("/x?y#z")),
            ("http://10.0.0.1:80/x", below("/x")),
            ("http://10.0.0.1:8000/x", None),
            ("http://example.com/x", None),
            ("//example.com/x", None),
            ("x/y", None),
            ("#z", None),
            ("/api/v1/namespaces/a/pods/b/proxy/x", below("/x")),
        ] {
            assert_eq!(links().rewritten(link), want, "{link}");
        }
    }

    async fn through(coding: &str, page: Vec<u8>) -> Vec<u8> {
        let mut answer = http::Response::new(Body::from(page));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("1"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(coding).expect("a coding"));
        let answer = links().rewrite(answer);
        let kept = coding == "br";
        assert_eq!(answer.headers().contains_key(header::CONTENT_LENGTH), kept, "{coding}");
        axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a page").to_vec()
    }

    #[tokio::test]
    async fn pages_are_rewritten_however_they_are_packed() {
        let text = "x".repeat(5000);
        let page = format!("<!DOCTYPE html><p>{text}</p><a class=k href=\"/x\">t</a><a href=\"y\">u</a><p cite=/z>v");
        let want = page.replace("href=\"/x\"", &format!("href=\"{}/x\"", links().prefix));
        assert_eq!(String::from_utf8(through("", page.clone().into_bytes()).await).expect("text"), want);

        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(page.as_bytes()).expect("packed");
        let mut opened = GzDecoder::new(Vec::new());
        opened.write_all(&through("gzip", gzip.finish().expect("packed")).await).expect("opened");
        assert_eq!(String::from_utf8(opened.finish().expect("opened")).expect("text"), want);

        let unknown = page.into_bytes();
        assert_eq!(through("br", unknown.clone()).await, unknown);
    }
}
