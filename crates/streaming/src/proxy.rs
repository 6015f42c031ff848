//! Passing upgraded bytes on, for the components between a client and the runtime.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

/// Bytes buffered per direction.
const BUFFER: usize = 32 * 1024;

/// Copies bytes both ways until both directions have ended, and returns how many went from `a` to `b` and back. The end
/// of one direction is passed on at once while the other goes on; a failure of either side ends both.
pub async fn proxy_upgrade<A, B>(mut a: A, mut b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional_with_sizes(&mut a, &mut b, BUFFER, BUFFER).await
}

/// [`proxy_upgrade`] between two upgraded HTTP connections.
pub async fn proxy_upgraded(a: hyper::upgrade::Upgraded, b: hyper::upgrade::Upgraded) -> io::Result<(u64, u64)> {
    proxy_upgrade(TokioIo::new(a), TokioIo::new(b)).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn halves_close_one_by_one() {
        let (mut client, near) = tokio::io::duplex(16);
        let (mut server, far) = tokio::io::duplex(16);
        let proxy = tokio::spawn(proxy_upgrade(near, far));
        let answering = tokio::spawn(async move {
            let mut request = String::new();
            server.read_to_string(&mut request).await.expect("request");
            server.write_all(format!("you said {request}").as_bytes()).await.expect("answer");
        });
        client.write_all(b"a request longer than the buffer").await.expect("write");
        client.shutdown().await.expect("half close");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answer");
        assert_eq!(answer, "you said a request longer than the buffer");
        answering.await.expect("server");
        assert_eq!(proxy.await.expect("proxy").expect("copied"), (32, 41));
    }
}
