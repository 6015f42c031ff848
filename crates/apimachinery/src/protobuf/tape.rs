//! JSON text as a list of its values, made in one pass: what stands where, without a tree.
//!
//! Only for text that this server wrote, compact and valid. Anything else is refused, and its reader takes the long way.

/// One value, or the key before one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where its text starts and ends.
    start: u32,
    end: u32,
    /// The entry after it and all that is in it.
    next: u32,
    /// Whether it is a string with escapes.
    escaped: bool,
}

/// Values in the order of the text: an object is followed by its keys and values, a list by its elements.
#[derive(Debug, Default)]
pub(super) struct Tape {
    entries: Vec<Entry>,
    /// Containers that are open.
    open: Vec<usize>,
}

/// The text is not as this server writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign;

impl Tape {
    /// Reads a text anew.
    pub(super) fn read(&mut self, json: &[u8]) -> Result<(), Foreign> {
        self.entries.clear();
        self.open.clear();
        if u32::try_from(json.len()).is_err() {
            return Err(Foreign);
        }
        let mut at = 0;
        loop {
            at = self.value(json, at)?;
            // Behind a value stands the end of what it is in, or what separates it from the next.
            loop {
                let Some(open) = self.open.last() else {
                    return if at == json.len() { Ok(()) } else { Err(Foreign) };
                };
                let in_object = json[self.entries[*open].start as usize] == b'{';
                match json.get(at) {
                    Some(b'}') if in_object => at = self.close(at),
                    Some(b']') if !in_object => at = self.close(at),
                    Some(b',') if in_object => {
                        at = self.key(json, at + 1)?;
                        break;
                    }
                    Some(b',') => {
                        at += 1;
                        break;
                    }
                    _ => return Err(Foreign),
                }
            }
        }
    }

    /// Notes what starts here, and for a container that is not empty also the key before its first value; returns where
    /// the next value or the separator stands.
    fn value(&mut self, json: &[u8], mut at: usize) -> Result<usize, Foreign> {
        loop {
            match json.get(at) {
                Some(b'"') => return self.string(json, at),
                Some(b'{') => {
                    self.begin(at);
                    if json.get(at + 1) == Some(&b'}') {
                        return Ok(self.close(at + 1));
                    }
                    at = self.key(json, at + 1)?;
                }
                Some(b'[') => {
                    self.begin(at);
                    if json.get(at + 1) == Some(&b']') {
                        return Ok(self.close(at + 1));
                    }
                    at += 1;
                }
                Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                    let rest = &json[at..];
                    let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']'));
                    let end = at + length.unwrap_or(rest.len());
                    if json[end - 1].is_ascii_whitespace() {
                        return Err(Foreign);
                    }
                    self.push(at, end, false);
                    return Ok(end);
                }
                _ => return Err(Foreign),
            }
        }
    }

    fn push(&mut self, start: usize, end: usize, escaped: bool) {
        let next = self.entries.len() as u32 + 1;
        self.entries.push(Entry { start: start as u32, end: end as u32, next, escaped });
    }

    fn begin(&mut self, at: usize) {
        self.open.push(self.entries.len());
        self.push(at, at, false);
    }

    fn close(&mut self, at: usize) -> usize {
        if let Some(open) = self.open.pop() {
            let next = self.entries.len() as u32;
            let entry = &mut self.entries[open];
            (entry.end, entry.next) = (at as u32 + 1, next);
        }
        at + 1
    }

    fn key(&mut self, json: &[u8], at: usize) -> Result<usize, Foreign> {
        if json.get(at) != Some(&b'"') {
            return Err(Foreign);
        }
        let at = self.string(json, at)?;
        if json.get(at) == Some(&b':') { Ok(at + 1) } else { Err(Foreign) }
    }

    fn string(&mut self, json: &[u8], at: usize) -> Result<usize, Foreign> {
        let (mut end, mut escaped) = (at + 1, false);
        loop {
            end = stop(json, end);
            match json.get(end) {
                Some(b'"') => {
                    self.push(at, end + 1, escaped);
                    return Ok(end + 1);
                }
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                _ => return Err(Foreign),
            }
        }
    }

    /// The text of a value.
    pub(super) fn text<'j>(&self, json: &'j [u8], at: usize) -> &'j [u8] {
        let entry = &self.entries[at];
        &json[entry.start as usize..entry.end as usize]
    }

    /// Whether a string has escapes.
    pub(super) fn is_escaped(&self, at: usize) -> bool {
        self.entries[at].escaped
    }

    /// The entry after a value.
    pub(super) fn next(&self, at: usize) -> usize {
        self.entries[at].next as usize
    }
}

/// The next quote or backslash: eight bytes at a time.
fn stop(json: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(word) = json.get(at..at + 8) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        let word = u64::from_le_bytes(bytes);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < json.len() && json[at] != b'"' && json[at] != b'\\' {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(json: &str) -> Result<Vec<String>, Foreign> {
        let mut tape = Tape::default();
        tape.read(json.as_bytes())?;
        let text = |at| String::from_utf8_lossy(tape.text(json.as_bytes(), at)).into_owned();
        Ok((0..tape.entries.len()).map(text).collect())
    }

    #[test]
    fn values_stand_in_the_order_of_the_text() {
        let json = r#"{"a":[1,{"b\"\\":null},[],{}],"long enough for words":-1.5e3,"z":"x"}"#;
        let want = [
            json,
            r#""a""#,
            r#"[1,{"b\"\\":null},[],{}]"#,
            "1",
            r#"{"b\"\\":null}"#,
            r#""b\"\\""#,
            "null",
            "[]",
            "{}",
            r#""long enough for words""#,
            "-1.5e3",
            r#""z""#,
            r#""x""#,
        ];
        assert_eq!(texts(json).expect("ours"), want);
        let mut tape = Tape::default();
        tape.read(json.as_bytes()).expect("ours");
        assert_eq!((tape.next(0), tape.next(2), tape.next(4), tape.is_escaped(5)), (13, 9, 7, true));
    }

    #[test]
    fn what_others_write_is_refused() {
        for json in
            ["", "{", "[1", "{\"a\"}", "{\"a\":1 }", " 1", "[1]]", "{\"a\":1]", "\"a", "\"\\", "[,1]", "{,}", "x"]
        {
            assert_eq!(texts(json), Err(Foreign), "{json}");
        }
    }
}
