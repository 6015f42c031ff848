//! One connection: requests in, answers out.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::state::{PROBES, State};

/// Bytes of a request's line and headers.
const MAX_HEAD: u64 = 16 << 10;
/// Bytes of a request's body, which is read and dropped.
const MAX_BODY: u64 = 1 << 20;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How often an idle connection looks whether the server ends.
const LOOK: Duration = Duration::from_millis(100);
/// How long the rest of a request, and taking an answer, may last.
const PATIENCE: Duration = Duration::from_secs(10);

struct Request {
    method: String,
    path: String,
    close: bool,
}

struct Answer {
    code: u16,
    body: Vec<u8>,
}

/// Serves the connection to its end.
pub(crate) fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    while wait_for_request(stream, &mut reader, state)? {
        let Some(request) = read_request(&mut reader)? else {
            return write_answer(stream, &Answer { code: 400, body: b"bad request\n".to_vec() }, true);
        };
        let answer = answer(stream, state, &request);
        let close = request.close || state.is_draining();
        write_answer(stream, &answer, close)?;
        if close {
            break;
        }
    }
    Ok(())
}

/// Waits until a request begins; `false` when none will.
fn wait_for_request(stream: &TcpStream, reader: &mut BufReader<&TcpStream>, state: &State) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(LOOK))?;
    for look in 0..IDLE.as_millis() / LOOK.as_millis() {
        match reader.fill_buf() {
            Ok(bytes) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(!bytes.is_empty());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // A connection that was just made gets its answer even now.
                if state.is_draining() && look > 0 {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut head = reader.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let mut request =
        Request { method: method.to_owned(), path: path.to_owned(), close: version != "HTTP/1.1" };
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("connection", value) => request.close |= value.eq_ignore_ascii_case("close"),
            ("content-length", value) => length = value.parse().unwrap_or(u64::MAX),
            _ => {}
        }
    }
    if length > MAX_BODY {
        return Ok(None);
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    Ok(Some(request))
}

fn answer(stream: &TcpStream, state: &State, request: &Request) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let text = |text: String| Answer { code: 200, body: text.into_bytes() };
    let missing = || Answer { code: 404, body: b"not found\n".to_vec() };
    match (request.method.as_str(), path) {
        ("GET", "/") => text(format!("{} {}\n", state.name, state.version)),
        ("GET", "/env") => {
            let mut lines: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
            lines.sort();
            text(lines.concat())
        }
        ("GET", "/client") => text(format!("{}\n", stream.peer_addr().map_or(String::new(), |peer| peer.to_string()))),
        ("POST", "/recover") => {
            state.recover();
            text("all is well\n".to_owned())
        }
        ("GET", path) if PROBES.contains(&&path[1..]) => match state.is_failing(&path[1..]) {
            true => Answer { code: 503, body: b"failing as told\n".to_vec() },
            false => text("ok\n".to_owned()),
        },
        (method, path) => {
            let Some((verb, rest)) = path[1..].split_once('/') else { return missing() };
            match (method, verb) {
                ("GET", "env") => std::env::var(rest).map_or_else(|_| missing(), |value| text(format!("{value}\n"))),
                ("GET", "file") => match std::fs::read(format!("/{rest}")) {
                    Ok(body) => Answer { code: 200, body },
                    Err(error) => Answer { code: 404, body: format!("{error}\n").into_bytes() },
                },
                ("GET", "slow") => {
                    let seconds = rest.parse().unwrap_or(0.0_f64).clamp(0.0, 60.0);
                    std::thread::sleep(Duration::from_secs_f64(seconds));
                    text(format!("{} {}\n", state.name, state.version))
                }
                ("POST", "fail") => {
                    let seconds = query.strip_prefix("seconds=").and_then(|seconds| seconds.parse().ok());
                    let told = state.fail(rest, seconds.map(Duration::from_secs));
                    if told { text(format!("{rest} fails\n")) } else { missing() }
                }
                ("POST", "exit") => std::process::exit(rest.parse().unwrap_or(1)),
                ("POST", "eat") => {
                    state.eat(rest.parse().unwrap_or(0));
                    text("eaten\n".to_owned())
                }
                _ => missing(),
            }
        }
    }
}

fn write_answer(mut stream: &TcpStream, answer: &Answer, close: bool) -> std::io::Result<()> {
    let reason = match answer.code {
        200 => "OK",
        400 => "Bad Request",
        503 => "Service Unavailable",
        _ => "Not Found",
    };
    let connection = if close { "connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n{connection}\r\n",
        answer.code,
        answer.body.len()
    );
    stream.write_all(&[head.as_bytes(), &answer.body].concat())?;
    stream.flush()
}
