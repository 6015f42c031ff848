//! Frames on the wire (SPDY/3 specification, section 2).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::SpdyError;
use super::headers::{HeaderDecoder, HeaderEncoder, Headers};
use crate::queue::MAX_CHUNK;

const VERSION: u16 = 3;
const CONTROL_BIT: u16 = 0x8000;
const ID_MASK: u32 = 0x7fff_ffff;
const FLAG_FIN: u8 = 1;
const HEAD: usize = 8;
/// Largest control frame, in bytes without its head.
const MAX_CONTROL: usize = 64 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// One frame. A data frame of the wire may be decoded to several, so that none has to be held in memory whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's")]
pub enum Frame {
    SynStream { id: u32, priority: u8, fin: bool, headers: Headers },
    SynReply { id: u32, fin: bool, headers: Headers },
    RstStream { id: u32, status: ResetStatus },
    Settings { initial_window: Option<u32> },
    Ping { id: u32 },
    GoAway { last_id: u32, status: u32 },
    Headers { id: u32, fin: bool, headers: Headers },
    WindowUpdate { id: u32, delta: u32 },
    Data { id: u32, fin: bool, bytes: Bytes },
}

/// Why a stream is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetStatus(pub u32);

/// Turns bytes into frames.
pub struct Decoder {
    headers: HeaderDecoder,
    /// The data frame whose bytes are still coming.
    data: Option<PartialData>,
}

struct PartialData {
    id: u32,
    fin: bool,
    left: usize,
}

/// Turns frames into bytes.
pub struct Encoder {
    headers: HeaderEncoder,
}

// === impl ResetStatus ===

impl ResetStatus {
    /// The stream breaks the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// A frame for a stream that is not open.
    pub const INVALID_STREAM: Self = Self(2);
    /// The stream is not wanted.
    pub const REFUSED: Self = Self(3);
    /// The stream is no longer needed.
    pub const CANCEL: Self = Self(5);
}

// === impl Decoder ===

impl Default for Decoder {
    fn default() -> Self {
        Self { headers: HeaderDecoder::new(), data: None }
    }
}

impl Decoder {
    /// Takes the next frame from `buffer`; `None` if more bytes are needed.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, SpdyError> {
        if self.data.is_none() {
            let Some(head) = buffer.first_chunk::<HEAD>() else {
                return Ok(None);
            };
            let (first, second) = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]), &head[4..]);
            let (flags, length) = (second[0], u32::from_be_bytes([0, second[1], second[2], second[3]]) as usize);
            if head[0] & 0x80 != 0 {
                let (version, kind) =
                    (u16::from_be_bytes([head[0] & 0x7f, head[1]]), u16::from_be_bytes([head[2], head[3]]));
                return self.control(buffer, version, kind, flags, length);
            }
            buffer.advance(HEAD);
            self.data = Some(PartialData { id: first & ID_MASK, fin: flags & FLAG_FIN != 0, left: length });
        }
        Ok(self.data(buffer))
    }

    fn data(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let data = self.data.as_mut()?;
        if data.left > 0 && buffer.is_empty() {
            return None;
        }
        let bytes = buffer.split_to(data.left.min(buffer.len()).min(MAX_CHUNK)).freeze();
        data.left -= bytes.len();
        let last = data.left == 0;
        let frame = Frame::Data { id: data.id, fin: last && data.fin, bytes };
        if last {
            self.data = None;
        }
        Some(frame)
    }

    fn control(
        &mut self,
        buffer: &mut BytesMut,
        version: u16,
        kind: u16,
        flags: u8,
        length: usize,
    ) -> Result<Option<Frame>, SpdyError> {
        if version != VERSION {
            return Err(SpdyError::Invalid("unsupported version"));
        }
        if length > MAX_CONTROL {
            return Err(SpdyError::TooLarge("a control frame"));
        }
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        buffer.advance(HEAD);
        let mut body = buffer.split_to(length).freeze();
        let fin = flags & FLAG_FIN != 0;
        let frame = match kind {
            SYN_STREAM => {
                let id = stream_id(&mut body)?;
                let _associated = number(&mut body)?;
                if body.len() < 2 {
                    return Err(SpdyError::Invalid("a SYN_STREAM is too short"));
                }
                let priority = body.get_u8() >> 5;
                let _slot = body.get_u8();
                Frame::SynStream { id, priority, fin, headers: self.headers.decode(&body)? }
            }
            SYN_REPLY => {
                let id = stream_id(&mut body)?;
                Frame::SynReply { id, fin, headers: self.headers.decode(&body)? }
            }
            HEADERS => {
                let id = stream_id(&mut body)?;
                Frame::Headers { id, fin, headers: self.headers.decode(&body)? }
            }
            RST_STREAM => Frame::RstStream { id: stream_id(&mut body)?, status: ResetStatus(number(&mut body)?) },
            SETTINGS => settings(&mut body)?,
            PING => Frame::Ping { id: number(&mut body)? },
            GOAWAY => Frame::GoAway { last_id: number(&mut body)? & ID_MASK, status: number(&mut body)? },
            WINDOW_UPDATE => {
                Frame::WindowUpdate { id: number(&mut body)? & ID_MASK, delta: number(&mut body)? & ID_MASK }
            }
            _ => return Err(SpdyError::Invalid("unknown control frame")),
        };
        Ok(Some(frame))
    }
}

fn number(body: &mut Bytes) -> Result<u32, SpdyError> {
    if body.len() < 4 {
        return Err(SpdyError::Invalid("a control frame is too short"));
    }
    Ok(body.get_u32())
}

fn stream_id(body: &mut Bytes) -> Result<u32, SpdyError> {
    match number(body)? & ID_MASK {
        0 => Err(SpdyError::Invalid("stream id zero")),
        id => Ok(id),
    }
}

fn settings(body: &mut Bytes) -> Result<Frame, SpdyError> {
    const INITIAL_WINDOW: u32 = 7;
    let mut initial_window = None;
    for _ in 0..number(body)? {
        let (id, value) = (number(body)? & 0x00ff_ffff, number(body)?);
        if id == INITIAL_WINDOW {
            initial_window = Some(value & ID_MASK);
        }
    }
    Ok(Frame::Settings { initial_window })
}

// === impl Encoder ===

impl Encoder {
    /// An encoder with a fresh compression state.
    pub fn new() -> Result<Self, SpdyError> {
        Ok(Self { headers: HeaderEncoder::new()? })
    }

    /// Appends a frame to `out`.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), SpdyError> {
        match frame {
            Frame::Data { id, fin, bytes } => {
                out.put_u32(id & ID_MASK);
                put_length(out, u8::from(*fin), bytes.len())?;
                out.extend_from_slice(bytes);
            }
            Frame::SynStream { id, priority, fin, headers } => {
                let block = self.headers.encode(headers)?;
                put_control(out, SYN_STREAM, u8::from(*fin), 10 + block.len())?;
                out.put_u32(id & ID_MASK);
                out.put_u32(0);
                out.put_u8(priority << 5);
                out.put_u8(0);
                out.extend_from_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => self.with_headers(SYN_REPLY, *id, *fin, headers, out)?,
            Frame::Headers { id, fin, headers } => self.with_headers(HEADERS, *id, *fin, headers, out)?,
            Frame::RstStream { id, status } => put_numbers(out, RST_STREAM, &[*id, status.0])?,
            Frame::Settings { initial_window: None } => put_numbers(out, SETTINGS, &[0])?,
            Frame::Settings { initial_window: Some(window) } => put_numbers(out, SETTINGS, &[1, 7, *window])?,
            Frame::Ping { id } => put_numbers(out, PING, &[*id])?,
            Frame::GoAway { last_id, status } => put_numbers(out, GOAWAY, &[*last_id, *status])?,
            Frame::WindowUpdate { id, delta } => put_numbers(out, WINDOW_UPDATE, &[*id, *delta])?,
        }
        Ok(())
    }

    fn with_headers(
        &mut self,
        kind: u16,
        id: u32,
        fin: bool,
        headers: &Headers,
        out: &mut BytesMut,
    ) -> Result<(), SpdyError> {
        let block = self.headers.encode(headers)?;
        put_control(out, kind, u8::from(fin), 4 + block.len())?;
        out.put_u32(id & ID_MASK);
        out.extend_from_slice(&block);
        Ok(())
    }
}

fn put_control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) -> Result<(), SpdyError> {
    out.put_u16(CONTROL_BIT | VERSION);
    out.put_u16(kind);
    put_length(out, flags, length)
}

fn put_length(out: &mut BytesMut, flags: u8, length: usize) -> Result<(), SpdyError> {
    let length = u32::try_from(length).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or(SpdyError::TooLarge("a frame to send"))?;
    out.put_u32((u32::from(flags) << 24) | length);
    Ok(())
}

fn put_numbers(out: &mut BytesMut, kind: u16, numbers: &[u32]) -> Result<(), SpdyError> {
    put_control(out, kind, 0, numbers.len() * 4)?;
    numbers.iter().for_each(|number| out.put_u32(*number));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> Headers {
        [("streamType", "stdin"), ("x", "y")].into_iter().collect()
    }

    fn frames() -> Vec<Frame> {
        vec![
            Frame::SynStream { id: 1, priority: 3, fin: false, headers: headers() },
            Frame::SynReply { id: 1, fin: false, headers: Headers::default() },
            Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"hello") },
            Frame::Data { id: 1, fin: true, bytes: Bytes::new() },
            Frame::Headers { id: 3, fin: true, headers: headers() },
            Frame::RstStream { id: 3, status: ResetStatus::CANCEL },
            Frame::Settings { initial_window: Some(65_536) },
            Frame::Settings { initial_window: None },
            Frame::Ping { id: 2 },
            Frame::WindowUpdate { id: 1, delta: 10 },
            Frame::GoAway { last_id: 3, status: 0 },
        ]
    }

    #[test]
    fn frames_survive_any_split() {
        let mut wire = BytesMut::new();
        let mut encoder = Encoder::new().expect("encoder");
        for frame in frames() {
            encoder.encode(&frame, &mut wire).expect("encode");
        }
        for step in [1, 3, 7, wire.len()] {
            let (mut decoder, mut buffer, mut decoded) = (Decoder::default(), BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut buffer).expect("decode") {
                    decoded.push(frame);
                }
            }
            assert_eq!(joined(decoded), frames(), "steps of {step}");
            assert!(buffer.is_empty());
        }
    }

    /// Data frames that were decoded in pieces, put together.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut all: Vec<Frame> = Vec::new();
        for frame in frames {
            if let (Some(Frame::Data { id, fin: false, bytes }), Frame::Data { id: next, fin, bytes: more }) =
                (all.last_mut(), &frame)
                && id == next
                && !more.is_empty()
                && !*fin
            {
                *bytes = [&bytes[..], more].concat().into();
                continue;
            }
            all.push(frame);
        }
        all
    }

    #[test]
    fn large_data_comes_in_pieces() {
        let mut wire = BytesMut::new();
        let bytes = Bytes::from(vec![7; 100_000]);
        let frame = Frame::Data { id: 5, fin: true, bytes };
        Encoder::new().expect("encoder").encode(&frame, &mut wire).expect("encode");
        let (mut decoder, mut total, mut fins) = (Decoder::default(), 0, 0);
        while let Some(Frame::Data { bytes, fin, .. }) = decoder.decode(&mut wire).expect("decode") {
            assert!(bytes.len() <= MAX_CHUNK);
            total += bytes.len();
            fins += usize::from(fin);
        }
        assert_eq!((total, fins), (100_000, 1));
    }

    #[test]
    fn bad_frames_are_errors() {
        let decode = |bytes: &[u8]| Decoder::default().decode(&mut BytesMut::from(bytes));
        let short_syn = [0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1];
        let zero_stream = [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];
        let huge = [0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff];
        let version = [0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
        let unknown = [0x80, 3, 0, 0x77, 0, 0, 0, 0];
        let lying_settings = [0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
        for bytes in [&short_syn[..], &zero_stream, &huge, &version, &unknown, &lying_settings] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
