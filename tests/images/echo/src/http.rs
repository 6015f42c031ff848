//! As much of HTTP/1.1 as a test server needs, with every size bounded.

use std::io::{self, BufRead, Read, Write};

/// Largest request line and headers together, in bytes.
const MAX_HEAD: u64 = 64 * 1024;
/// Largest request body, in bytes.
const MAX_BODY: u64 = 1024 * 1024;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Decoded parameters of the query, in order.
    pub(crate) query: Vec<(String, String)>,
    /// The request line and headers as they arrived.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The client is gone, or said nothing for too long: no answer.
    Gone,
    /// Answered with this status, and the connection is closed.
    Refused(u16, &'static str),
}

// === impl Request ===

impl Request {
    /// Reads one request. `None` at the end of the connection.
    pub(crate) fn read(stream: &mut impl BufRead) -> Result<Option<Self>, ReadError> {
        let Some(head) = read_head(stream)? else {
            return Ok(None);
        };
        let malformed = ReadError::Refused(400, "malformed request");
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed);
        };
        let mut keep_alive = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ => return Err(ReadError::Refused(505, "only HTTP/1.0 and HTTP/1.1")),
        };
        let mut length = 0;
        for line in lines.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                return Err(malformed);
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "connection" if value.eq_ignore_ascii_case("close") => keep_alive = false,
                "connection" if value.eq_ignore_ascii_case("keep-alive") => keep_alive = true,
                "content-length" => match value.parse::<u64>() {
                    Ok(value) => length = value,
                    Err(_) => return Err(malformed),
                },
                "transfer-encoding" => {
                    return Err(ReadError::Refused(411, "a body needs a Content-Length"));
                }
                _ => {}
            }
        }
        if length > MAX_BODY {
            return Err(ReadError::Refused(413, "the body is too large"));
        }
        let mut body = Vec::new();
        stream.take(length).read_to_end(&mut body).map_err(gone)?;
        if (body.len() as u64) < length {
            return Err(ReadError::Gone);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Some(Self {
            method: method.to_owned(),
            path: decoded(path),
            query: parameters(query),
            body,
            keep_alive,
            head,
        }))
    }

    /// The first parameter called `name`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The request line and headers up to the empty line.
fn read_head(stream: &mut impl BufRead) -> Result<Option<String>, ReadError> {
    let mut head = Vec::new();
    let mut limited = stream.take(MAX_HEAD);
    loop {
        let before = head.len();
        if limited.read_until(b'\n', &mut head).map_err(gone)? == 0 {
            return match (head.is_empty(), limited.limit()) {
                (true, _) => Ok(None),
                (false, 0) => Err(ReadError::Refused(431, "the head is too large")),
                (false, _) => Err(ReadError::Gone),
            };
        }
        let line = &head[before..];
        if line == b"\r\n" || line == b"\n" {
            // Empty lines before a request are allowed, and skipped.
            if before == 0 {
                head.clear();
                continue;
            }
            return String::from_utf8(head).map(Some).map_err(|_| ReadError::Refused(400, "the head is not UTF-8"));
        }
    }
}

fn gone(_: io::Error) -> ReadError {
    ReadError::Gone
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&key.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}

/// Percent decoding. What is not valid stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// === impl Response ===

impl Response {
    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        let mut body = text.into().into_bytes();
        if body.last() != Some(&b'\n') {
            body.push(b'\n');
        }
        Self { status, body }
    }

    /// Writes the answer in one piece; `close` says that the connection ends with it.
    pub(crate) fn write(&self, stream: &mut impl Write, headers_only: bool, close: bool) -> io::Result<()> {
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            self.status,
            reason(self.status),
            self.body.len(),
        );
        let mut message = head.into_bytes();
        if !headers_only {
            message.extend_from_slice(&self.body);
        }
        stream.write_all(&message)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, ReadError> {
        Request::read(&mut io::Cursor::new(text.as_bytes().to_vec()))
    }

    fn refused(text: &str) -> u16 {
        match read(text) {
            Err(ReadError::Refused(status, _)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_read_one_after_another() {
        let text = "POST /a%20b?x=1&path=%2Fetc%2Fhosts&y=a+b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                    GET / HTTP/1.0\r\n\r\n";
        let mut stream = io::Cursor::new(text.as_bytes());
        let first = Request::read(&mut stream).expect("read").expect("one");
        assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/a b"));
        assert_eq!(first.parameter("path"), Some("/etc/hosts"));
        assert_eq!(first.parameter("y"), Some("a b"));
        assert_eq!(first.parameter("z"), None);
        assert_eq!(first.body, b"abc");
        assert!(first.keep_alive);
        let second = Request::read(&mut stream).expect("read").expect("two");
        assert_eq!((second.path.as_str(), second.keep_alive, second.body.len()), ("/", false, 0));
        assert_eq!(Request::read(&mut stream).expect("read"), None);
    }

    #[test]
    fn bad_requests_are_refused() {
        assert_eq!(refused("GET /\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(refused("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(refused("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), 400);
        assert_eq!(refused("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n"), 413);
        assert_eq!(refused("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(70_000));
        assert_eq!(refused(&long), 431);
    }

    #[test]
    fn cut_connections_get_no_answer() {
        assert!(matches!(read("GET / HT"), Err(ReadError::Gone)));
        let short = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc";
        assert!(matches!(read(short), Err(ReadError::Gone)));
    }

    #[test]
    fn escapes_are_decoded_and_wrong_ones_kept() {
        assert_eq!(decoded("%2Fa%2"), "/a%2");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz"), "%zz");
    }

    #[test]
    fn answers_say_whether_the_connection_ends() {
        let mut written = Vec::new();
        let answer = Response::text(200, "hi");
        answer.write(&mut written, false, true).expect("write");
        assert_eq!(
            String::from_utf8(written).expect("text"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n"
        );
    }
}
