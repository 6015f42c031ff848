//! The name servers of the host.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Servers that are asked at most (glibc's `MAXNS`).
pub const MAX_SERVERS: usize = 3;

/// The `nameserver` lines of a `resolv.conf`.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok())?
    });
    servers.take(MAX_SERVERS).map(|address| SocketAddr::new(address, 53)).collect()
}

/// Reads the file; none if it cannot be read.
pub fn read(path: &Path) -> Vec<SocketAddr> {
    std::fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_name_servers_count() {
        let text =
            "# nameserver 1.1.1.1\nsearch a b\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\nnameserver oops\n";
        let servers: Vec<String> = super::parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }
}
