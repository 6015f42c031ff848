//! Against name servers of the test's own, on loopback.

use std::net::IpAddr;

use hickory_proto::op::MessageType;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};

use super::*;

/// A server that answers every query as told, and its address.
async fn server(answer: impl Fn(Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for answer in answer(Message::from_vec(&buffer[..length]).expect("a query")) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

fn reply(query: &Message, code: ResponseCode, last: u8) -> Message {
    let mut reply = query.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.response_code = code;
    let name = query.queries[0].name().clone();
    reply.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, last))));
    reply
}

fn query() -> (Vec<u8>, Query) {
    let message = question(Name::from_ascii("Example.org.").expect("a name"), RecordType::A, 4711);
    (message.to_vec().expect("encodes"), message.queries[0].clone())
}

async fn ask(servers: Vec<SocketAddr>) -> Result<Message, Error> {
    let (bytes, asked) = query();
    let forwarder = Forwarder::new(Upstream::Servers(servers), vec![]);
    let answer = forwarder.forward(&bytes, &asked, Transport::Udp).await?;
    Ok(Message::from_vec(&answer).expect("a message"))
}

#[tokio::test]
async fn a_response_comes_back_under_the_clients_id_and_false_ones_do_not() {
    let good = server(|query| {
        assert_ne!(query.metadata.id, 4711, "the client's id must not be used again");
        let mut wrong_id = reply(&query, ResponseCode::NoError, 66);
        wrong_id.metadata.id ^= 1;
        let mut wrong_name = reply(&query, ResponseCode::NoError, 67);
        wrong_name.queries[0].set_name(Name::from_ascii("evil.org.").expect("a name"));
        [wrong_id, wrong_name, reply(&query, ResponseCode::NoError, 1)]
            .iter()
            .map(|m| m.to_vec().expect("encodes"))
            .collect()
    })
    .await;
    let answer = ask(vec![good]).await.expect("an answer");
    assert_eq!(answer.metadata.id, 4711);
    assert_eq!(answer.answers[0].to_string(), "Example.org. 60 IN A 192.0.2.1");
}

#[tokio::test]
async fn another_server_is_asked_when_one_fails() {
    let failing = server(|query| vec![reply(&query, ResponseCode::ServFail, 1).to_vec().expect("encodes")]).await;
    let good = server(|query| vec![reply(&query, ResponseCode::NoError, 2).to_vec().expect("encodes")]).await;
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let answer = ask(vec![closed, failing, good]).await.expect("an answer");
    assert_eq!(answer.answers[0].data, RData::A(A::new(192, 0, 2, 2)));
    let answer = ask(vec![failing, closed]).await.expect("the failure itself");
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_dead_server_costs_its_timeout_only_once() {
    let asked_dead = Arc::new(Mutex::new(0));
    let count = asked_dead.clone();
    let dead = server(move |_| {
        *count.lock() += 1;
        vec![]
    })
    .await;
    let good = server(|query| vec![reply(&query, ResponseCode::NoError, 2).to_vec().expect("encodes")]).await;
    let upstream = Upstream::Servers(vec![dead, good]);
    let forwarder = Forwarder::with_try_timeout(upstream, vec![], Duration::from_millis(50));
    let (bytes, asked) = query();
    for _ in 0..5 {
        forwarder.forward(&bytes, &asked, Transport::Udp).await.expect("an answer");
    }
    assert_eq!(*asked_dead.lock(), 1);
}

#[tokio::test]
async fn without_a_server_or_a_slot_it_fails_at_once() {
    assert!(matches!(ask(vec![]).await, Err(Error::NoServer)));
    let own: SocketAddr = (IpAddr::from([10, 96, 0, 10]), 53).into();
    let forwarder = Forwarder::new(Upstream::Servers(vec![own]), vec![own]);
    let (bytes, asked) = query();
    assert!(matches!(forwarder.forward(&bytes, &asked, Transport::Udp).await, Err(Error::NoServer)));
    let slots: Vec<_> = (0..MAX_CONCURRENT).map(|_| forwarder.slot().expect("a slot")).collect();
    assert!(matches!(forwarder.slot(), Err(Error::Busy)));
    drop(slots);
    assert!(forwarder.slot().is_ok());
}

#[tokio::test]
async fn an_alias_gets_its_targets_addresses() {
    let good = server(|query| vec![reply(&query, ResponseCode::NoError, 3).to_vec().expect("encodes")]).await;
    let forwarder = Forwarder::new(Upstream::Servers(vec![good]), vec![]);
    let (bytes, _) = query();
    let query = Message::from_vec(&bytes).expect("decodes");
    let response = crate::answer::respond_to(&query, Transport::Udp);
    let target = Name::from_ascii("target.org.").expect("a name");
    let done = forwarder.resolve(&target, RecordType::A, response, Transport::Udp).await;
    assert_eq!(done.message.answers[0].to_string(), "target.org. 60 IN A 192.0.2.3");
    assert_eq!(done.message.metadata.id, 4711);
}
