//! The server's end: nobody who came in time goes without an answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Bound of every wait, far above what it takes.
const DEADLINE: Duration = Duration::from_secs(30);

struct Server {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let mut process =
            Command::new(env!("CARGO_BIN_EXE_echo")).env("PORT", "0").stdout(Stdio::piped()).spawn().expect("spawn");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let port = line.trim().rsplit(' ').next().and_then(|p| p.parse().ok());
        Self { process, output, port: port.expect("a port") }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
        stream
    }

    fn terminate(&mut self) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("SIGTERM");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert_eq!(line, "SIGTERM: ending\n");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("write");
}

fn rest(stream: &mut impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read");
    text
}

#[test]
fn requests_are_answered_and_connections_closed_after_sigterm() {
    let mut server = Server::start();
    let mut slow = server.connect();
    send(&mut slow, "/slow/2");
    let mut idle = server.connect();
    send(&mut idle, "/readyz");
    let mut line = String::new();
    let mut idle = BufReader::new(idle);
    while line != "ok\n" {
        line.clear();
        assert_ne!(idle.read_line(&mut line).expect("read"), 0);
    }
    let mut silent = server.connect();

    server.terminate();
    let mut late = server.connect();
    send(&mut late, "/readyz");
    let late = rest(&mut late);
    assert!(late.starts_with("HTTP/1.1 503 "), "{late}");
    assert!(late.contains("\r\nConnection: close\r\n"), "{late}");
    assert_eq!(rest(&mut idle), "", "closed");
    send(&mut silent, "/");
    assert!(rest(&mut silent).starts_with("HTTP/1.1 200 "));
    assert!(rest(&mut slow).starts_with("HTTP/1.1 200 "));
    assert!(server.process.wait().expect("wait").success());
}

/// As behind a Service: connections come at a steady rate until, a little later, the server is taken out.
#[test]
fn nobody_is_refused_until_connections_stop_coming() {
    let mut server = Server::start();
    let port = server.port;
    let load = thread::spawn(move || {
        let end = Instant::now() + Duration::from_millis(1500);
        let mut answered = 0;
        while Instant::now() < end {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
            stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
            send(&mut stream, "/");
            let mut first = [0; 15];
            stream.read_exact(&mut first).expect("an answer");
            assert_eq!(&first, b"HTTP/1.1 200 OK");
            answered += 1;
        }
        answered
    });
    server.terminate();
    let answered = load.join().expect("every request is answered");
    assert!(answered > 300, "only {answered} answers");
    assert!(server.process.wait().expect("wait").success());
}
