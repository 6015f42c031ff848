//! Tracked connections (ctnetlink): listing those of a protocol and deleting single ones, in the network namespace of
//! the calling thread.
//!
//! Plain blocking calls: a listing of a full table takes some tenths of a second, so callers use a thread of its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::{Error, Result};

/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Message types of `NFNL_SUBSYS_CTNETLINK`.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// Message types and flags of netlink itself.
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// Attributes of a connection, of a tuple, and of a tuple's two halves.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// Bits of an attribute's type that are not its number.
const TYPE_FLAGS: u16 = 0xc000;

const MESSAGE_HEADER: usize = 16;
/// `struct nfgenmsg`: family, version, resource id.
const GENERIC_HEADER: usize = 4;
/// One answer of the kernel holds several connections; it sends at most this much at once.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the kernel may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A tracked IPv4 connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Protocol number.
    pub protocol: u8,
    /// Where its first packet was sent, before any translation.
    pub destination: SocketAddrV4,
    /// Who answers: the destination after translation.
    pub answers_from: SocketAddrV4,
    /// Its identity for the kernel: the attributes TUPLE_ORIGINAL and ID as they came.
    identity: Vec<u8>,
}

/// The IPv4 connections of a protocol for which `wanted` says yes.
pub fn list(protocol: u8, wanted: impl Fn(&Flow) -> bool) -> Result<Vec<Flow>> {
    let socket = open()?;
    send(&socket, &message(GET, REQUEST | DUMP, &[]))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = receive(&socket, &mut buffer)?;
        for (kind, payload) in messages(&buffer[..length]) {
            match kind {
                MESSAGE_DONE => return Ok(found),
                MESSAGE_ERROR => check(payload)?,
                _ => found.extend(parse_flow(payload).filter(|flow| flow.protocol == protocol && wanted(flow))),
            }
        }
    }
}

/// Forgets a connection, so that its next packet is translated anew. Gone already is fine.
pub fn delete(flows: &[Flow]) -> Result<usize> {
    let socket = open()?;
    let mut deleted = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    for flow in flows {
        send(&socket, &message(DELETE, REQUEST | ACK, &flow.identity))?;
        let length = receive(&socket, &mut buffer)?;
        for (_, payload) in messages(&buffer[..length]).filter(|(kind, _)| *kind == MESSAGE_ERROR) {
            match check(payload) {
                Ok(()) => deleted += 1,
                Err(Error::File { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(deleted)
}

fn failed(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |errno| Error::file(action, "netlink conntrack socket")(errno.into())
}

fn open() -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )
    .map_err(failed("open"))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(failed("set up"))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, message: &[u8]) -> Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket, message, SendFlags::empty(), &kernel).map(drop).map_err(failed("write"))
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let (length, _) = rustix::net::recv(socket, buffer, RecvFlags::empty()).map_err(failed("read"))?;
    Ok(length)
}

/// The kernel's verdict: `struct nlmsgerr` begins with the negative error number, 0 for success.
fn check(payload: &[u8]) -> Result<()> {
    let code = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 { Ok(()) } else { Err(failed("use")(rustix::io::Errno::from_raw_os_error(-code))) }
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = MESSAGE_HEADER + GENERIC_HEADER + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    // Messages are far below 4 GB.
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([libc::AF_INET as u8, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The messages in a buffer: type and payload.
fn messages(mut buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*buffer.first_chunk()?) as usize;
        let message = buffer.get(..length).filter(|message| message.len() >= MESSAGE_HEADER)?;
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([message[4], message[5]]), &message[MESSAGE_HEADER..]))
    })
}

/// The attributes in a buffer: number, value, and the whole with its header and padding.
fn attributes(mut buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*buffer.first_chunk()?));
        let value = buffer.get(4..length)?;
        let kind = u16::from_ne_bytes([buffer[2], buffer[3]]) & !TYPE_FLAGS;
        let padded = length.next_multiple_of(4).min(buffer.len());
        let (whole, rest) = buffer.split_at(padded);
        buffer = rest;
        Some((kind, value, whole))
    })
}

fn attribute(buffer: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(buffer).find(|(kind, _, _)| *kind == wanted).map(|(_, value, _)| value)
}

fn parse_flow(payload: &[u8]) -> Option<Flow> {
    let all = payload.get(GENERIC_HEADER..)?;
    let original = Tuple::parse(attribute(all, TUPLE_ORIGINAL)?)?;
    let reply = Tuple::parse(attribute(all, TUPLE_REPLY)?)?;
    let identity = attributes(all).filter(|(kind, _, _)| matches!(*kind, TUPLE_ORIGINAL | ID));
    Some(Flow {
        protocol: original.protocol,
        destination: original.destination,
        answers_from: reply.source,
        identity: identity.flat_map(|(_, _, whole)| whole.iter().copied()).collect(),
    })
}

struct Tuple {
    protocol: u8,
    source: SocketAddrV4,
    destination: SocketAddrV4,
}

impl Tuple {
    fn parse(tuple: &[u8]) -> Option<Self> {
        let (ip, protocol) = (attribute(tuple, TUPLE_IP)?, attribute(tuple, TUPLE_PROTOCOL)?);
        let address = |kind| Some(Ipv4Addr::from(*attribute(ip, kind)?.first_chunk::<4>()?));
        // Protocols without ports have none.
        let port = |kind| {
            attribute(protocol, kind).and_then(|bytes| bytes.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
        };
        Some(Self {
            protocol: *attribute(protocol, PROTOCOL_NUMBER)?.first()?,
            source: SocketAddrV4::new(address(IP_SOURCE)?, port(SOURCE_PORT)),
            destination: SocketAddrV4::new(address(IP_DESTINATION)?, port(DESTINATION_PORT)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(kind: u16, source: [u8; 4], source_port: u16, destination: [u8; 4], destination_port: u16) -> Vec<u8> {
        let ip = [put(IP_SOURCE, &source), put(IP_DESTINATION, &destination)].concat();
        let protocol = [
            put(PROTOCOL_NUMBER, &[UDP]),
            put(SOURCE_PORT, &source_port.to_be_bytes()),
            put(DESTINATION_PORT, &destination_port.to_be_bytes()),
        ];
        let nested = 0x8000;
        put(nested | kind, &[put(nested | TUPLE_IP, &ip), put(nested | TUPLE_PROTOCOL, &protocol.concat())].concat())
    }

    #[test]
    fn flows_are_read_and_keep_what_identifies_them() {
        let original = tuple(TUPLE_ORIGINAL, [10, 244, 0, 2], 5000, [10, 96, 0, 10], 53);
        let reply = tuple(TUPLE_REPLY, [192, 0, 2, 2], 10053, [10, 244, 0, 2], 5000);
        let id = put(ID, &7u32.to_be_bytes());
        let mut bytes = message(0x100, 0, &[original.clone(), reply, put(3, &[0; 4]), id.clone()].concat());
        bytes.extend(message(MESSAGE_DONE, 0, &[]));
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!((all.len(), all[1].0), (2, MESSAGE_DONE));
        let flow = parse_flow(all[0].1).expect("a flow");
        assert_eq!((flow.protocol, flow.destination.to_string()), (UDP, "10.96.0.10:53".into()));
        assert_eq!(flow.answers_from.to_string(), "192.0.2.2:10053");
        assert_eq!(flow.identity, [original, id].concat());
    }

    #[test]
    fn broken_messages_end_the_reading() {
        let original = tuple(TUPLE_ORIGINAL, [10, 244, 0, 2], 5000, [10, 96, 0, 10], 53);
        let bytes = message(0x100, 0, &original);
        for length in 0..bytes.len() {
            for (_, payload) in messages(&bytes[..length]) {
                assert_eq!(parse_flow(payload), None);
            }
        }
        let mut endless = bytes.clone();
        endless[0] = 0;
        assert_eq!(messages(&endless).count(), 0);
    }
}
