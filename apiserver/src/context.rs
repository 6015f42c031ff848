//! What the handler chain knows about a request when an endpoint gets it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::audit::record::Record;
use crate::authentication::UserInfo;
use crate::flow_control::Classified;
use crate::query::Query;
use crate::request_info::RequestInfo;

/// Bytes of all warnings of one response; longer ones are cut, further ones dropped (upstream's header budget).
const MAX_WARNING_BYTES: usize = 4096;
/// Bytes of one warning once the total is exceeded.
const MAX_ONE_WARNING: usize = 256;

/// A request on its way through the endpoints.
#[derive(Debug)]
pub struct RequestContext {
    /// What it asks for.
    pub info: RequestInfo,
    /// Query parameters.
    pub query: Query,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// `User-Agent`; empty when absent.
    pub user_agent: String,
    /// `Accept`; empty when absent.
    pub accept: String,
    /// `Content-Type`; empty when absent.
    pub content_type: String,
    /// Whether the client takes gzip.
    pub accepts_gzip: bool,
    /// Whether JSON should be indented.
    pub pretty: bool,
    /// Warnings for the client.
    pub warnings: Warnings,
    /// What is kept of it, if anything is.
    pub audit: Option<Arc<Record>>,
    /// To which flow it belongs, once that is known.
    pub flow: Option<Classified>,
}

/// Texts for `Warning` headers: deduplicated, in order, bounded.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds one.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock();
        if !text.is_empty() && !all.contains(&text) {
            all.push(text);
        }
    }

    /// Adds several.
    pub fn extend(&self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.add(text);
        }
    }

    /// The header values, e.g. `299 - "text"`.
    pub fn headers(&self) -> Vec<String> {
        let all = self.0.lock();
        let total = all.iter().map(String::len).sum::<usize>();
        let mut left = MAX_WARNING_BYTES;
        let mut headers = Vec::with_capacity(all.len());
        for text in all.iter() {
            let limit = if total > MAX_WARNING_BYTES { MAX_ONE_WARNING } else { usize::MAX };
            let text = cut(text, limit);
            if text.len() > left {
                break;
            }
            left -= text.len();
            headers.push(format!("299 - \"{}\"", quoted(text)));
        }
        headers
    }
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Escapes for a quoted string; control characters become spaces.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_once_each_and_bounded() {
        let warnings = Warnings::default();
        warnings.add(r#"unknown field "spec.x""#);
        warnings.add(r#"unknown field "spec.x""#);
        assert_eq!(warnings.headers(), [r#"299 - "unknown field \"spec.x\"""#]);
        warnings.extend((0..100).map(|i| format!("{i:0>300}")));
        let bytes = warnings.headers().iter().map(String::len).sum::<usize>();
        assert!(bytes <= MAX_WARNING_BYTES + 20 * 10, "{bytes}");
    }
}
