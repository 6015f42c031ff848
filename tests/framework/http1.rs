//! One HTTP/1.1 request on a connection of its own, as a load balancer's probe or curl does it.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that the head of a request may have.
const HEAD: usize = 16 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: String,
}

/// Sends `METHOD PATH` to an address and reads the whole answer.
pub async fn request(method: &str, address: &str, path: &str) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.context("connect")?;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.context("send")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.context("receive")?;
        let answer = String::from_utf8(answer).context("the answer is not text")?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("cut off: {answer:?}"))?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
        Ok(Answer { code, body: body.to_owned() })
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("no answer in time")?
}

/// The body of a `GET` that is answered with 200.
pub async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let answer = request("GET", address, path).await?;
    ensure!(answer.code == 200, "GET {address}{path}: {}: {}", answer.code, answer.body);
    Ok(answer.body)
}

/// Answers requests on a loopback port with the media type and content that `answer` gives for a path, else with 404.
/// Returns the address. It ends with the runtime.
pub async fn serve<F>(answer: F) -> anyhow::Result<String>
where
    F: Fn(&str) -> Option<(&'static str, Vec<u8>)> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever gave up is not waiting for the answer.
            let _ = answer_one(stream, &answer).await;
        }
    });
    Ok(address)
}

async fn answer_one(
    mut stream: TcpStream,
    answer: &impl Fn(&str) -> Option<(&'static str, Vec<u8>)>,
) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        ensure!(head.len() < HEAD && stream.read_buf(&mut head).await? > 0, "no request");
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, (kind, body)) = match answer(path) {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", ("text/plain", Vec::new())),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await?;
    Ok(())
}
