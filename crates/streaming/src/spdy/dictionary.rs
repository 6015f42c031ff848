//! The dictionary that SPDY/3 gives to its header compression (specification, section 2.6.10.1).

use std::sync::LazyLock;

/// Words that stand in the dictionary with their length before them.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status";
const MORE_WORDS: [&str; 7] = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive"];
const LAST_WORD: &str = "origin";
/// What follows them, run together.
const TAIL: &str = "1001012012022052063003023033043053063074024054064074084094104114124134144154164175025045052\
03 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary's bytes.
pub(super) static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(1_423);
    for word in WORDS.split(' ').chain(MORE_WORDS).chain([LAST_WORD]) {
        // Words are far shorter than 256 bytes.
        bytes.extend_from_slice(&[0, 0, 0, word.len() as u8]);
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_specified_one() {
        // Length and Adler-32: the checksum that zlib streams carry to name the dictionary they need.
        assert_eq!(DICTIONARY.len(), 1_423);
        let (low, high) = DICTIONARY.iter().fold((1_u32, 0_u32), |(low, high), byte| {
            let low = (low + u32::from(*byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        assert_eq!((high << 16) | low, 0xe3c6_a7c2);
    }
}
