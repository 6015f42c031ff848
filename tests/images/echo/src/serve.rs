//! The server: one small thread per connection, and one that waits for SIGTERM.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::answers::{Application, Identity, Then};
use crate::drain::{Connections, Open};
use crate::http::{ReadError, Request, Response};

/// Where the server listens unless `PORT` says otherwise.
const DEFAULT_PORT: u16 = 8080;
/// Stack of a connection's thread, in bytes.
const STACK: usize = 128 * 1024;
/// How long a new connection may say nothing. The end of the server waits for it.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// How long a connection may say nothing between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// How long, and how many pieces, a client may still send after the last answer.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER_READS: usize = 1024;
/// Pause after a failure to accept, for example for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(20);

struct Server {
    application: Application,
    connections: Arc<Connections>,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) fn run() -> io::Result<()> {
    // Blocked before any thread starts, so that all threads leave them to `wait`. A first process of a pid namespace
    // never gets a signal that it neither handles nor blocks.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;

    let port = match std::env::var("PORT") {
        Ok(port) => port.parse().map_err(|_| io::Error::other(format!("PORT {port:?} is not a port")))?,
        Err(_) => DEFAULT_PORT,
    };
    // Dual-stack where there is IPv6.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let application = Application::new(Identity::detect());
    let Identity { name, version } = &application.identity;
    writeln!(io::stdout(), "echo {version} on {name}, port {}", listener.local_addr()?.port())?;
    let server = Arc::new(Server { application, connections: Arc::default() });
    let accepting = {
        let (server, listener) = (Arc::clone(&server), listener.try_clone()?);
        thread::Builder::new().stack_size(STACK).spawn(move || accept(&server, &listener))?
    };

    let signal = signals.wait()?;
    server.connections.end();
    writeln!(io::stdout(), "{signal}: ending")?;
    server.connections.wait_until_quiet();
    nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Read)?;
    let _ = accepting.join();
    if !server.connections.wait_until_finished() {
        writeln!(io::stdout(), "some requests were not answered in time")?;
    }
    writeln!(io::stdout(), "bye")
}

/// Accepts until the listener is shut down.
fn accept(server: &Arc<Server>, listener: &TcpListener) {
    loop {
        server.connections.wait_for_place();
        let (stream, client) = match listener.accept() {
            Ok(accepted) => accepted,
            // What accept says of a listener that was shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                eprintln!("accept: {error}");
                thread::sleep(PAUSE);
                continue;
            }
        };
        // Counted before its thread runs: from here on the connection is waited for.
        let opened = server.connections.open(&stream).and_then(|open| {
            let server = Arc::clone(server);
            let connection = thread::Builder::new().stack_size(STACK);
            connection.spawn(move || {
                // A client that went away is no news.
                let _ = serve(&server, &stream, client, &open);
            })
        });
        if let Err(error) = opened {
            eprintln!("{client}: {error}");
            thread::sleep(PAUSE);
        }
    }
}

/// Serves one connection to its end.
fn serve(server: &Server, stream: &TcpStream, client: SocketAddr, open: &Open) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(FIRST_REQUEST))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let request = match Request::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) | Err(ReadError::Gone) => return Ok(()),
            Err(ReadError::Refused(status, text)) => {
                Response::text(status, text).write(&mut writer, false, true)?;
                return linger(stream);
            }
        };
        open.set_busy(true);
        let ending = server.connections.ending();
        let (response, then) = server.application.answer(ending, &request, client);
        // It may have begun while the answer was made.
        let close = !request.keep_alive || server.connections.ending() || matches!(then, Then::Exit(_));
        let written = response.write(&mut writer, request.method == "HEAD", close);
        if let Then::Exit(code) = then {
            std::process::exit(code);
        }
        written?;
        if close {
            return linger(stream);
        }
        if !open.set_busy(false) {
            return Ok(());
        }
        stream.set_read_timeout(Some(IDLE))?;
    }
}

/// Closes so that the client surely reads the answer: unread bytes would make the kernel reset the connection.
fn linger(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(LINGER))?;
    let mut rest = [0; 1024];
    for _ in 0..MAX_LINGER_READS {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}
