//! Interactive sessions. The runtime ends the protocols; here the upgraded bytes are only passed on
//! (upstream: `pkg/kubelet/server/server.go`, proxyStream).

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use skiff_streaming::proxy_upgraded;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::reply::{self, Reply};
use crate::runtime::Streams;

/// How long the runtime's streaming server may take to answer the upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers that belong to the connection to us, or are nobody else's business.
const NOT_PASSED_ON: [HeaderName; 3] = [header::HOST, header::AUTHORIZATION, header::CONTENT_LENGTH];

/// The streams that a query asks for. At least one must be.
pub(crate) fn streams(query: &[(String, String)]) -> Result<Streams, String> {
    let flag = |names: [&str; 2]| {
        query.iter().any(|(key, value)| names.contains(&key.as_str()) && matches!(value.as_str(), "1" | "true"))
    };
    let tty = flag(["tty", "tty"]);
    let streams = Streams {
        stdin: flag(["input", "stdin"]),
        stdout: flag(["output", "stdout"]),
        // A terminal has one output only.
        stderr: flag(["error", "stderr"]) && !tty,
        tty,
    };
    if !streams.stdin && !streams.stdout && !streams.stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr".to_owned());
    }
    Ok(streams)
}

/// Passes a request on to a URL of the runtime. If the runtime takes the upgrade, bytes go both ways from then on.
/// `place` is held for as long as they do.
pub(crate) async fn pass_on(mut request: Request<Incoming>, url: &str, place: OwnedSemaphorePermit) -> Reply {
    let client = hyper::upgrade::on(&mut request);
    let asked = tokio::time::timeout(CONNECT_TIMEOUT, ask(&request, url));
    match asked.await.unwrap_or_else(|late| Err(late.into())) {
        Ok(mut answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let runtime = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                match tokio::try_join!(client, runtime) {
                    Ok((client, runtime)) => {
                        if let Err(error) = proxy_upgraded(client, runtime).await {
                            tracing::debug!(%error, "a session ended");
                        }
                    }
                    Err(error) => tracing::debug!(%error, "a session was not upgraded"),
                }
                drop(place);
            });
            let (head, _) = answer.into_parts();
            Response::from_parts(head, reply::empty())
        }
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            Response::from_parts(head, body.map_err(Into::into).boxed_unsync())
        }
        Err(error) => reply::text(
            StatusCode::BAD_GATEWAY,
            format!("cannot reach the container runtime's streaming server: {error}"),
        ),
    }
}

async fn ask(
    request: &Request<Incoming>,
    url: &str,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let uri: Uri = url.parse()?;
    let host = uri.host().ok_or("the URL has no host")?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut passed = Request::builder().method(request.method().clone()).uri(path);
    if let Some(headers) = passed.headers_mut() {
        for (name, value) in request.headers().iter().filter(|(name, _)| !NOT_PASSED_ON.contains(name)) {
            headers.append(name.clone(), value.clone());
        }
        if let Some(authority) = uri.authority() {
            headers.insert(header::HOST, authority.as_str().parse()?);
        }
    }
    Ok(sender.send_request(passed.body(Empty::<Bytes>::new())?).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_asked_for_by_both_names() {
        let get = |pairs: &[(&str, &str)]| {
            let query: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            streams(&query)
        };
        let expected = Streams { stdin: true, stdout: true, stderr: false, tty: true };
        assert_eq!(get(&[("input", "1"), ("output", "1"), ("error", "1"), ("tty", "1")]), Ok(expected));
        assert_eq!(get(&[("stdin", "true"), ("stdout", "true"), ("tty", "true")]), Ok(expected));
        assert_eq!(get(&[("stderr", "true")]), Ok(Streams { stderr: true, ..Default::default() }));
        assert!(get(&[("tty", "1")]).is_err());
    }
}
