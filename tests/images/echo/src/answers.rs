//! What each address answers.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::{Request, Response};
use crate::probes::{Probe, Probes};

/// Most of a file that is shown, in bytes.
const MAX_CONTENT: u64 = 16 << 20;
/// Longest delay that can be asked for, in seconds.
const MAX_DELAY: f64 = 60.0;
/// What `/eat` without a number takes at a time, in megabytes.
const BITE: usize = 4;

/// Who the server is.
pub(crate) struct Identity {
    /// Host name, which is the pod's.
    pub(crate) name: String,
    /// Version of the image.
    pub(crate) version: String,
}

/// What all connections share.
pub(crate) struct Application {
    pub(crate) identity: Identity,
    pub(crate) probes: Probes,
    /// Memory that was asked for.
    eaten: Mutex<Vec<Vec<u8>>>,
}

/// What follows an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    Exit(i32),
}

// === impl Identity ===

impl Identity {
    pub(crate) fn detect() -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            name: host.trim().to_owned(),
            version: std::env::var("ECHO_VERSION").unwrap_or_else(|_| "unknown".to_owned()),
        }
    }
}

// === impl Application ===

impl Application {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, probes: Probes::default(), eaten: Mutex::default() }
    }

    /// Answers `request` from `client`. Waits if the request asks for it.
    pub(crate) fn answer(&self, ending: bool, request: &Request, client: SocketAddr) -> (Response, Then) {
        let (first, rest) = match request.path.trim_start_matches('/').split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (request.path.trim_start_matches('/'), None),
        };
        let method = match request.method.as_str() {
            "HEAD" => "GET",
            other => other,
        };
        let response = match (method, first, rest) {
            (_, "request", None) => Response { status: 200, body: [request.head.as_bytes(), &request.body].concat() },
            ("GET", "", None) => self.name(),
            ("GET", "slow", Some(seconds)) => match seconds.parse::<f64>() {
                Ok(seconds) if (0.0..=MAX_DELAY).contains(&seconds) => {
                    std::thread::sleep(Duration::from_secs_f64(seconds));
                    self.name()
                }
                _ => Response::text(400, format!("not a number of seconds up to {MAX_DELAY}")),
            },
            ("GET", "client", None) => Response::text(200, client.to_string()),
            ("GET", "env", name) => environment(name),
            ("GET", "file", Some(path)) => file(&Path::new("/").join(path)),
            ("GET", probe, None) if Probe::parse(probe).is_some() => self.probe(probe, ending),
            ("POST", "fail", Some(probe)) => self.fail(probe, request.parameter("seconds")),
            ("POST", "recover", None) => {
                self.probes.recover();
                Response::text(200, "all is well")
            }
            ("POST", "eat", megabytes) => self.eat(megabytes),
            ("POST", "exit", code) => match code.unwrap_or("1").parse() {
                Ok(code @ 0..=255) => return (Response::text(200, "bye"), Then::Exit(code)),
                _ => Response::text(400, "not a number from 0 to 255"),
            },
            _ => Response::text(404, format!("no {} {}", request.method, request.path)),
        };
        (response, Then::GoOn)
    }

    fn name(&self) -> Response {
        Response::text(200, format!("{} {}", self.identity.name, self.identity.version))
    }

    fn probe(&self, name: &str, ending: bool) -> Response {
        let failing = Probe::parse(name).and_then(|probe| self.probes.failing(probe, ending, Instant::now()));
        failing.map_or_else(|| Response::text(200, "ok"), |why| Response::text(503, why))
    }

    fn fail(&self, name: &str, seconds: Option<&str>) -> Response {
        let Some(probe) = Probe::parse(name) else {
            return Response::text(404, format!("{name} is not startupz, readyz or healthz"));
        };
        let time = match seconds.map(str::parse) {
            Some(Err(_)) => return Response::text(400, "seconds is not a number"),
            Some(Ok(seconds)) => Some(Duration::from_secs(seconds)),
            None => None,
        };
        self.probes.fail(probe, time, Instant::now());
        Response::text(200, format!("{name} fails"))
    }

    /// Takes memory and touches it, so that it counts.
    fn eat(&self, megabytes: Option<&str>) -> Response {
        let (bite, bites) = match megabytes.map(str::parse::<usize>) {
            Some(Ok(megabytes)) => (megabytes, 1),
            Some(Err(_)) => return Response::text(400, "not a number of megabytes"),
            None => (BITE, usize::MAX),
        };
        for _ in 0..bites {
            let mut block = Vec::new();
            let bytes = bite.saturating_mul(1 << 20);
            if block.try_reserve_exact(bytes).is_err() {
                return Response::text(503, "there is no more memory");
            }
            block.resize(bytes, 1);
            self.eaten.lock().unwrap_or_else(PoisonError::into_inner).push(block);
        }
        Response::text(200, "eaten")
    }
}

fn environment(name: Option<&str>) -> Response {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    if let Some(name) = name {
        let value = std::env::var_os(name);
        return value.map_or_else(|| Response::text(404, "not set"), |value| Response::text(200, text(&value)));
    }
    let variables = std::env::vars_os().map(|(name, value)| format!("{}={}", text(&name), text(&value)));
    let mut lines: Vec<String> = variables.collect();
    lines.sort_unstable();
    Response::text(200, lines.join("\n"))
}

fn file(path: &Path) -> Response {
    match read(path) {
        Ok(body) => Response { status: 200, body },
        Err(error) => {
            let status = if error.kind() == io::ErrorKind::PermissionDenied { 403 } else { 404 };
            Response::text(status, format!("{}: {error}", path.display()))
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_dir() {
        let names = fs::read_dir(path)?.map(|entry| Ok(format!("{}\n", entry?.file_name().display())));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        return Ok(names.concat().into_bytes());
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_CONTENT).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(application: &Application, line: &str) -> (u16, String, Then) {
        let text = format!("{line} HTTP/1.1\r\nHost: web\r\n\r\n");
        let request = Request::read(&mut text.as_bytes()).expect("valid").expect("one");
        let client = SocketAddr::from(([10, 244, 0, 9], 4444));
        let (response, then) = application.answer(false, &request, client);
        (response.status, String::from_utf8(response.body).expect("text"), then)
    }

    fn application() -> Application {
        Application::new(Identity { name: "web-1".to_owned(), version: "v2".to_owned() })
    }

    #[test]
    fn addresses_answer() {
        let application = application();
        let check = |line: &str, status: u16, body: &str| {
            let (got, text, _) = ask(&application, line);
            assert_eq!((got, text.as_str()), (status, body), "{line}");
        };
        check("GET /", 200, "web-1 v2\n");
        check("HEAD /", 200, "web-1 v2\n");
        check("GET /slow/0.01", 200, "web-1 v2\n");
        check("GET /slow/NaN", 400, "not a number of seconds up to 60\n");
        check("GET /client", 200, "10.244.0.9:4444\n");
        check("PUT /request", 200, "PUT /request HTTP/1.1\r\nHost: web\r\n\r\n");
        check("GET /env/NO_SUCH_NAME", 404, "not set\n");
        check("GET /env/CARGO_PKG_NAME", 200, "echo\n");
        check("GET /file", 404, "no GET /file\n");
        check("POST /", 404, "no POST /\n");
        check("GET /eat/1", 404, "no GET /eat/1\n");
        check("GET x", 404, "no GET x\n");
        check("GET /%C3%A9", 404, "no GET /é\n");
        check("POST /eat/1", 200, "eaten\n");
        check("POST /eat/99999999999999999", 503, "there is no more memory\n");
    }

    #[test]
    fn probes_do_as_told() {
        let application = application();
        let check = |line: &str, status: u16| assert_eq!(ask(&application, line).0, status, "{line}");
        for probe in ["startupz", "readyz", "healthz"] {
            check(&format!("GET /{probe}"), 200);
            check(&format!("POST /fail/{probe}?seconds=60"), 200);
            check(&format!("GET /{probe}"), 503);
            check("POST /recover", 200);
            check(&format!("GET /{probe}"), 200);
            check(&format!("POST /fail/{probe}"), 200);
            check(&format!("GET /{probe}"), 503);
        }
        check("POST /fail/other", 404);
        check("POST /fail/readyz?seconds=x", 400);
    }

    #[test]
    fn files_and_folders_are_shown() {
        let application = application();
        let (status, text, _) = ask(&application, &format!("GET /file{}/src", env!("CARGO_MANIFEST_DIR")));
        assert_eq!((status, text.starts_with("answers.rs\n")), (200, true), "{text}");
        let (status, text, _) = ask(&application, &format!("GET /file{}/Cargo.toml", env!("CARGO_MANIFEST_DIR")));
        assert_eq!((status, text.starts_with("[package]")), (200, true), "{text}");
        assert_eq!(ask(&application, "GET /file/no/such").0, 404);
    }

    #[test]
    fn exits_with_the_code_that_was_asked_for() {
        let application = application();
        assert_eq!(ask(&application, "POST /exit/7").2, Then::Exit(7));
        assert_eq!(ask(&application, "POST /exit").2, Then::Exit(1));
        assert_eq!(ask(&application, "POST /exit/256"), (400, "not a number from 0 to 255\n".to_owned(), Then::GoOn));
    }
}
