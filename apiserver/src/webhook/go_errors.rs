//! What Go's HTTP client and client-go say when a call fails. Clients show these texts, and people search for them.
//!
//! Follows `net/http`, `net` and `k8s.io/apimachinery/pkg/api/errors` (`NewGenericServerResponse`).

use std::io;
use std::time::Duration;

/// What Go says when a connection could not be made.
pub fn dial(address: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {why}")
}

/// A duration of whole seconds as Go prints it: `10s`, `1m0s`.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

/// What client-go makes of an answer that is no success and says nothing that it understands.
pub fn server_response(code: u16, text: &str) -> String {
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 if !text.is_empty() => text.to_owned(),
        403 => "unknown".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 | 415 if !text.is_empty() => text.to_owned(),
        406 => "the server was unable to respond with a content type that the client supports".to_owned(),
        415 => "the server was unable to understand the content type of the request".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => {
            let text = if text.is_empty() { "unknown" } else { text };
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_go() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(dial("127.0.0.1:1", &refused), "dial tcp 127.0.0.1:1: connect: connection refused");
        assert_eq!(duration(Duration::from_secs(10)), "10s");
        assert_eq!(duration(Duration::from_secs(60)), "1m0s");
        assert_eq!(server_response(404, "x"), "the server could not find the requested resource");
        assert_eq!(
            server_response(500, "boom"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(
            server_response(302, ""),
            "the server responded with the status code 302 but did not return more information"
        );
    }
}
