//! One HTTP/1.1 request on a connection of its own, as a load balancer's probe or curl does it.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

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
