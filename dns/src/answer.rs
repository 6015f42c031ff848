//! Queries to responses, as bytes. Pure: what must be asked elsewhere is said, not done.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use rand::seq::SliceRandom;

use crate::index::Index;
use crate::lookup::{self, Answer, Asked, Data, Zone};

/// How long an answer may be kept, in seconds; also for "no such name". Short, as Services and pods come and go.
pub const TTL: u32 = 5;
/// Largest response over UDP, whatever the client says it can take: larger ones are lost on some paths.
pub const MAX_UDP_BYTES: u16 = 1232;
/// Largest response over UDP to a client that says nothing.
const PLAIN_UDP_BYTES: u16 = 512;
/// Aliases that are followed for one query (CoreDNS's plugin `kubernetes` follows as many).
const MAX_ALIASES: usize = 8;
/// Refresh, retry and expiry of the zone for secondaries, of which there are none; as CoreDNS says.
const SOA_TIMES: (i32, i32, i32) = (7200, 1800, 86400);

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a packet.
    Udp,
    /// In a stream.
    Tcp,
}

/// What to do with a query.
#[derive(Debug)]
pub enum Outcome {
    /// Send this.
    Respond(Response),
    /// The name is not ours: pass the query on as it is.
    Forward(Box<Message>),
    /// The name stands for a name that is not ours: ask for that one, and send this with its answers.
    Resolve(Box<Message>, Name, Box<Response>),
    /// Not a query; say nothing.
    Ignore,
}

/// A response, before it is made to fit.
#[derive(Clone, Debug)]
pub struct Response {
    /// The response.
    pub message: Message,
    limit: usize,
}

impl Response {
    /// The bytes to send, made to fit the transport: what does not fit is left out and the client told so.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let mut bytes = self.encode();
        if bytes.len() > self.limit && !self.message.additionals.is_empty() {
            self.message.additionals.clear();
            bytes = self.encode();
        }
        if bytes.len() > self.limit {
            self.message.metadata.truncation = true;
            self.message.authorities.clear();
            bytes = self.encode_fitting();
        }
        bytes
    }

    /// With as many answers as fit.
    fn encode_fitting(&mut self) -> Vec<u8> {
        let answers = std::mem::take(&mut self.message.answers);
        let mut best = self.encode();
        let (mut fits, mut too_many) = (0, answers.len() + 1);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            self.message.answers = answers[..middle].to_vec();
            let bytes = self.encode();
            if bytes.len() <= self.limit {
                (fits, best) = (middle, bytes);
            } else {
                too_many = middle;
            }
        }
        best
    }

    fn encode(&self) -> Vec<u8> {
        // Encoding fails for names and counts beyond the protocol's limits, which none of ours reach; an empty answer
        // is dropped by the sender.
        self.message.to_vec().unwrap_or_default()
    }

    /// Sets the code.
    pub fn code(mut self, code: ResponseCode) -> Self {
        self.message.metadata.response_code = code;
        self
    }
}

/// Who answers.
#[derive(Clone, Debug)]
pub struct Responder {
    zone: Zone,
    origin: Name,
    name_server: Name,
    mailbox: Name,
}

impl Responder {
    /// Answers for a zone.
    pub fn new(cluster_domain: &str, service_ip: Ipv4Addr) -> anyhow::Result<Self> {
        let zone = Zone::new(cluster_domain, service_ip);
        let origin = absolute(&zone.name)?;
        let name_server = absolute(&zone.name_server())?;
        let mailbox = absolute(&format!("hostmaster.{}", zone.name))?;
        Ok(Self { zone, origin, name_server, mailbox })
    }

    /// Decides on a query. `index` is `None` until everything is known: then nothing in the zone is answered for, as
    /// "no such name" would be a lie that clients remember.
    pub fn decide(&self, index: Option<&Index>, bytes: &[u8], transport: Transport) -> Outcome {
        let query = match Message::from_vec(bytes) {
            Ok(query) => query,
            Err(_) => return malformed(bytes),
        };
        if query.metadata.message_type != MessageType::Query {
            return Outcome::Ignore;
        }
        let mut response = respond_to(&query, transport);
        if query.metadata.op_code != OpCode::Query {
            return Outcome::Respond(response.code(ResponseCode::NotImp));
        }
        if query.version() > 0 {
            return Outcome::Respond(response.code(ResponseCode::BADVERS));
        }
        let [question] = query.queries.as_slice() else {
            return Outcome::Respond(response.code(ResponseCode::FormErr));
        };
        if question.query_class() != DNSClass::IN || is_transfer(question.query_type()) {
            return Outcome::Respond(response.code(ResponseCode::Refused));
        }
        let (name, asked) = (question.name().clone(), asked(question.query_type()));
        match self.find(index, &name, asked) {
            Found::Unknown => Outcome::Respond(response.code(ResponseCode::ServFail)),
            Found::Known(Answer::Elsewhere) => Outcome::Forward(Box::new(query)),
            Found::Known(Answer::Alias(target)) => self.alias(index, query, response, &target, asked),
            Found::Known(answer) => {
                response.message.metadata.authoritative = true;
                self.fill(&mut response.message, &name, answer);
                Outcome::Respond(response)
            }
        }
    }

    fn find(&self, index: Option<&Index>, name: &Name, asked: Asked) -> Found {
        let labels: Option<Vec<String>> =
            name.iter().map(|label| std::str::from_utf8(label).ok().map(str::to_ascii_lowercase)).collect();
        // What is not text is no name of ours; the zone's labels are text.
        let Some(labels) = labels else { return Found::Known(Answer::Elsewhere) };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match index {
            Some(index) => Found::Known(lookup::lookup(index, &self.zone, &labels, asked)),
            None if self.zone.below(&labels).is_some() || labels.last() == Some(&"arpa") => Found::Unknown,
            None => Found::Known(Answer::Elsewhere),
        }
    }

    /// A CNAME for each alias on the way, and what the last target says if that is in the zone too; else it must be
    /// resolved. Clients do not ask on themselves, so a chain that goes round or is too long ends without an address.
    fn alias(
        &self,
        index: Option<&Index>,
        query: Message,
        mut response: Response,
        target: &str,
        asked: Asked,
    ) -> Outcome {
        let (Ok(mut target), Some(question)) = (absolute(target), query.queries.first()) else {
            return Outcome::Respond(response.code(ResponseCode::ServFail));
        };
        let mut owner = question.name().clone();
        let wants_target = question.query_type() != RecordType::CNAME;
        response.message.metadata.authoritative = true;
        for _ in 0..MAX_ALIASES {
            let data = RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
            response.message.add_answer(record(&owner, data));
            if !wants_target {
                return Outcome::Respond(response);
            }
            match self.find(index, &target, asked) {
                Found::Known(answer @ (Answer::Records(..) | Answer::NoName)) => {
                    self.fill(&mut response.message, &target, answer);
                    return Outcome::Respond(response);
                }
                Found::Known(Answer::Alias(next)) => {
                    let Ok(next) = absolute(&next) else { break };
                    let goes_round = response.message.answers.iter().any(|link| link.name == next);
                    if goes_round {
                        break;
                    }
                    owner = std::mem::replace(&mut target, next);
                }
                Found::Known(Answer::Elsewhere) | Found::Unknown => {
                    return Outcome::Resolve(Box::new(query), target, Box::new(response));
                }
            }
        }
        Outcome::Respond(response)
    }

    fn fill(&self, message: &mut Message, owner: &Name, answer: Answer) {
        match answer {
            Answer::Records(records, additional) => {
                let mut answers: Vec<Record> =
                    records.into_iter().filter_map(|data| Some(record(owner, self.data(data)?))).collect();
                if answers.is_empty() {
                    message.add_authority(self.start_of_authority());
                }
                // Clients that take the first address are spread by order.
                answers.shuffle(&mut rand::rng());
                message.add_answers(answers);
                let additional = additional.into_iter();
                message.add_additionals(
                    additional.filter_map(|(name, data)| Some(record(&absolute(&name).ok()?, self.data(data)?))),
                );
            }
            _ => {
                message.metadata.response_code = ResponseCode::NXDomain;
                message.add_authority(self.start_of_authority());
            }
        }
    }

    fn data(&self, data: Data) -> Option<RData> {
        Some(match data {
            Data::A(address) => RData::A(A(address)),
            Data::Aaaa(address) => RData::AAAA(AAAA(address)),
            Data::Srv(weight, port, target) => RData::SRV(SRV::new(0, weight, port, absolute(&target).ok()?)),
            Data::Ptr(name) => RData::PTR(PTR(absolute(&name).ok()?)),
            Data::Txt(text) => RData::TXT(TXT::new(vec![text.to_owned()])),
            Data::Ns(name) => RData::NS(NS(absolute(&name).ok()?)),
            Data::Soa => self.start_of_authority().data,
        })
    }

    fn start_of_authority(&self) -> Record {
        let (refresh, retry, expire) = SOA_TIMES;
        let soa = SOA::new(self.name_server.clone(), self.mailbox.clone(), 1, refresh, retry, expire, TTL);
        record(&self.origin, RData::SOA(soa))
    }
}

enum Found {
    Known(Answer),
    /// In the zone, but the index is not complete yet.
    Unknown,
}

/// An empty response to a query.
pub fn respond_to(query: &Message, transport: Transport) -> Response {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata = Metadata::response_from_request(&query.metadata);
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.iter().cloned());
    let mut limit = PLAIN_UDP_BYTES;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        message.set_edns(edns);
        limit = query.max_payload().min(MAX_UDP_BYTES);
    }
    let limit = if transport == Transport::Tcp { u16::MAX } else { limit };
    Response { message, limit: limit.into() }
}

/// What cannot be read is answered with FORMERR if it has the header of a query.
fn malformed(bytes: &[u8]) -> Outcome {
    let Some([high, low, flags]) = bytes.first_chunk::<3>().filter(|_| bytes.len() >= 12) else {
        return Outcome::Ignore;
    };
    if flags & 0x80 != 0 {
        return Outcome::Ignore;
    }
    let message = Message::error_msg(u16::from_be_bytes([*high, *low]), OpCode::Query, ResponseCode::FormErr);
    Outcome::Respond(Response { message, limit: PLAIN_UDP_BYTES.into() })
}

/// A query of our own.
pub fn question(name: Name, kind: RecordType, id: u16) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message
}

fn asked(kind: RecordType) -> Asked {
    match kind {
        RecordType::A => Asked::A,
        RecordType::AAAA => Asked::Aaaa,
        RecordType::SRV => Asked::Srv,
        RecordType::PTR => Asked::Ptr,
        RecordType::TXT => Asked::Txt,
        RecordType::SOA => Asked::Soa,
        RecordType::NS => Asked::Ns,
        _ => Asked::Other,
    }
}

fn is_transfer(kind: RecordType) -> bool {
    matches!(kind, RecordType::AXFR | RecordType::IXFR)
}

fn absolute(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), TTL, data)
}

#[cfg(test)]
mod tests;
