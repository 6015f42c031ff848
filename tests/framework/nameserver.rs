//! A name server that knows one name, as the outside world does.

use std::net::Ipv4Addr;

use anyhow::Context;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// Seconds that an answer may be kept.
const TTL: u32 = 30;

/// Longest question over UDP without extensions (RFC 1035), with room for them.
const MAX_QUESTION: usize = 4096;

/// Answers questions for `name` with `address`, and that no other name exists. It ends with the runtime.
pub async fn serve(listen: &str, name: &str, address: Ipv4Addr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let name = Name::from_ascii(name)?;
    tokio::spawn(async move {
        let mut bytes = [0; MAX_QUESTION];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
            if let Some(answer) = answer(&bytes[..length], &name, address) {
                // Whoever does not take the answer asks again.
                let _ = socket.send_to(&answer, peer).await;
            }
        }
    });
    Ok(())
}

fn answer(question: &[u8], name: &Name, address: Ipv4Addr) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let asked = question.queries.first()?.clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    if asked.name() != name {
        answer.metadata.response_code = ResponseCode::NXDomain;
    } else if asked.query_type() == RecordType::A {
        answer.add_answer(Record::from_rdata(name.clone(), TTL, RData::A(A(address))));
    }
    answer.add_query(asked);
    answer.to_vec().ok()
}
