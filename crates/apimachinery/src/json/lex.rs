//! The pieces of JSON text: strings, numbers and words, with the errors of Go's `encoding/json`.

use compact_str::CompactString;

use super::DecodeError;

/// What stands for bytes that are no text.
const REPLACEMENT: char = '\u{fffd}';

/// A place in JSON text.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    pub(super) bytes: &'a [u8],
    /// The same as text, if all of it is.
    text: Option<&'a str>,
    pub(super) at: usize,
}

impl<'a> Lexer<'a> {
    /// The start of a text.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, text: std::str::from_utf8(bytes).ok(), at: 0 }
    }

    /// What was taken since `start`, if it is text.
    fn since(&self, start: usize) -> Option<&'a str> {
        match self.text {
            Some(text) => text.get(start..self.at),
            None => std::str::from_utf8(&self.bytes[start..self.at]).ok(),
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// The error for what stands here, where something else was needed.
    pub(super) fn unexpected(&self, context: &str) -> DecodeError {
        match self.peek() {
            Some(byte) => DecodeError(format!("invalid character {} {context}", quoted(byte))),
            None => DecodeError("unexpected end of JSON input".into()),
        }
    }

    /// Takes `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), DecodeError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let expected = char::from(expected);
                return Err(self.unexpected(&format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Takes a number.
    pub(super) fn number(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            // Nothing may follow a leading zero; whoever comes next will say so.
            Some(b'0') => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        self.since(start).ok_or_else(|| self.unexpected("in numeric literal"))
    }

    fn digits(&mut self, context: &str) -> Result<(), DecodeError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected(context));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    /// Takes a string. Bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD.
    pub(super) fn string(&mut self) -> Result<CompactString, DecodeError> {
        self.at += 1;
        let start = self.at;
        let plain = self.plain();
        if self.peek() == Some(b'"') {
            let text = self.since(start);
            self.at += 1;
            if let Some(text) = text {
                return Ok(text.into());
            }
            let mut text = String::new();
            push_lossy(&mut text, plain);
            return Ok(text.into());
        }
        let mut text = String::new();
        push_lossy(&mut text, plain);
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    text.push(c);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
            push_lossy(&mut text, self.plain());
        }
        self.at += 1;
        Ok(text.into())
    }

    /// The bytes up to what ends or interrupts a string.
    fn plain(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let end = plain_length(rest);
        self.at += end;
        &rest[..end]
    }

    /// Takes an object of nothing but objects, without space between, as `fieldsV1` is; `None` for anything else, and
    /// then nothing is taken. Such text needs no tree to be known as valid.
    pub(super) fn nested_objects(&mut self) -> Option<&'a str> {
        let start = self.at;
        let text = self.nested_objects_end().and_then(|_| self.since(start));
        if text.is_none() {
            self.at = start;
        }
        text
    }

    fn nested_objects_end(&mut self) -> Option<usize> {
        let mut depth = 0;
        loop {
            // An object, empty or with the key before its first member.
            if self.peek()? != b'{' || depth == super::MAX_DEPTH {
                return None;
            }
            self.at += 1;
            depth += 1;
            if self.peek()? != b'}' {
                self.plain_key()?;
                continue;
            }
            // The ends of all objects that end here.
            while self.peek() == Some(b'}') && depth > 0 {
                self.at += 1;
                depth -= 1;
            }
            if depth == 0 {
                return Some(self.at);
            }
            if self.peek()? != b',' {
                return None;
            }
            self.at += 1;
            self.plain_key()?;
        }
    }

    /// Takes a key and its colon.
    fn plain_key(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            self.plain();
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    self.escape().ok()?;
                }
                _ => return None,
            }
        }
        self.at += 1;
        (self.peek()? == b':').then(|| self.at += 1)
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hexadecimal()?;
                return Ok(char::from_u32(first).unwrap_or_else(|| self.second_half(first)));
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    fn hexadecimal(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            value = value * 16 + digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(value)
    }

    /// The character that a surrogate makes with the escape after it; that stays where it is if they make none.
    fn second_half(&mut self, first: u32) -> char {
        let before = self.at;
        if self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            if let Ok(second @ 0xdc00..0xe000) = self.hexadecimal()
                && first < 0xdc00
            {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code).unwrap_or(REPLACEMENT);
            }
        }
        self.at = before;
        REPLACEMENT
    }
}

/// How many bytes there are before a quote, a backslash or a control character; eight are looked at together.
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // The lowest mark of each is right: a borrow only reaches higher bytes.
    let is_below = |word: u64, bound: u64| word.wrapping_sub(EACH * bound) & !word & HIGH;
    let is = |word: u64, byte: u8| is_below(word ^ (EACH * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marks = is_below(word, 0x20) | is(word, b'"') | is(word, b'\\');
        if marks != 0 {
            return i * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len())
}

/// Go replaces every byte, not every broken sequence.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| REPLACEMENT));
    }
}

/// A byte as Go shows it in errors.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'\\' => r"'\\'".into(),
        b'\t' => r"'\t'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        7 => r"'\a'".into(),
        8 => r"'\b'".into(),
        11 => r"'\v'".into(),
        12 => r"'\f'".into(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..0xa1 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
