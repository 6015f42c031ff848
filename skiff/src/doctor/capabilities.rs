//! What the kernel lets this process do.

use super::Finding;

/// Name and number (`linux/capability.h`) of the capabilities a node needs: for what it does itself, and those that
/// containers have by default, which nobody can give who does not have them.
const NEEDED: &[(&str, u32)] = &[
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held(u64);

impl Held {
    pub(super) fn has(self, name: &str) -> bool {
        NEEDED.iter().any(|(known, number)| *known == name && self.0 & (1 << number) != 0)
    }
}

/// Those of this process; none if they cannot be read.
pub(super) fn effective() -> Held {
    Held(parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()))
}

fn parse(status: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    value.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

pub(super) fn look(held: &Held) -> Finding {
    let missing: Vec<&str> = NEEDED.iter().map(|(name, _)| *name).filter(|name| !held.has(name)).collect();
    match missing.as_slice() {
        [] => Finding::Fine,
        all if all.len() == NEEDED.len() => Finding::Missing("run this as root".to_owned()),
        some => Finding::Missing(format!(
            "this process lacks {}; run it as root, and in a container or a service with {} added",
            some.join(", "),
            if some.len() == 1 { "it" } else { "them" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_lacks_is_named() {
        let all = parse("Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert_eq!(look(&Held(all)), Finding::Fine);
        let Finding::Missing(text) = look(&Held(all & !(1 << 12))) else { panic!("found nothing") };
        assert!(text.contains("lacks CAP_NET_ADMIN;"), "{text}");
        assert!(Held(all).has("CAP_MKNOD") && !Held(0).has("CAP_MKNOD"));
        assert_eq!(look(&Held(parse("garbage"))), Finding::Missing("run this as root".to_owned()));
    }
}
