//! A range cut into equal parts, and whose they are: what each node gets of the pod network.
//!
//! Follows `pkg/controller/nodeipam/ipam/cidrset`: the first free part is given out, and a part stays its owner's until
//! it is given back.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

/// Most parts that a range may be cut into (upstream's limit on the difference of prefix lengths: 16).
pub const MAX_SUBNETS: u64 = 1 << 16;

/// Why a range cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// A part would be larger than the range, or larger than an address is long.
    #[error("a part of /{part} does not fit into {range}")]
    TooLarge {
        /// The range.
        range: Ipv4Net,
        /// Prefix length of a part.
        part: u8,
    },
    /// There would be too many parts.
    #[error("{range} in parts of /{part} makes more than {MAX_SUBNETS} parts")]
    TooMany {
        /// The range.
        range: Ipv4Net,
        /// Prefix length of a part.
        part: u8,
    },
}

/// The parts of a range.
#[derive(Clone, Debug)]
pub struct Subnets {
    range: Ipv4Net,
    prefix: u8,
    count: u64,
    owners: BTreeMap<u64, String>,
}

impl Subnets {
    /// Cuts a range into parts with this prefix length, all of them free.
    pub fn new(range: Ipv4Net, prefix: u8) -> Result<Self, CutError> {
        if prefix > 32 || prefix < range.prefix_len() {
            return Err(CutError::TooLarge { range, part: prefix });
        }
        let count = 1u64 << (prefix - range.prefix_len());
        if count > MAX_SUBNETS {
            return Err(CutError::TooMany { range, part: prefix });
        }
        Ok(Self { range: range.trunc(), prefix, count, owners: BTreeMap::new() })
    }

    /// The range.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// The owner's part, or the first free one; `None` when all are taken.
    pub fn allocate(&mut self, owner: &str) -> Option<Ipv4Net> {
        let mine = self.owners.iter().find(|(_, have)| *have == owner).map(|(part, _)| *part);
        let part = mine.or_else(|| self.first_free())?;
        self.owners.insert(part, owner.to_owned());
        Some(self.subnet(part))
    }

    /// Notes a part that an owner has, which is then its only one. Not a part of this range: nothing to note.
    pub fn occupy(&mut self, owner: &str, subnet: Ipv4Net) {
        let Some(part) = self.part(subnet) else { return };
        self.owners.retain(|at, have| have != owner || *at == part);
        self.owners.entry(part).or_insert_with(|| owner.to_owned());
    }

    /// Gives back what an owner has.
    pub fn release(&mut self, owner: &str) {
        self.owners.retain(|_, have| have != owner);
    }

    fn first_free(&self) -> Option<u64> {
        // Taken parts are ordered: the first one that is not where it would be without a gap shows the gap.
        let gap = (0..).zip(self.owners.keys()).find(|(expected, taken)| expected != *taken);
        let free = gap.map_or(self.owners.len() as u64, |(expected, _)| expected);
        (free < self.count).then_some(free)
    }

    fn size(&self) -> u64 {
        1 << (32 - self.prefix)
    }

    fn subnet(&self, part: u64) -> Ipv4Net {
        // Below `count` a part lies within the range, so this cannot leave 32 bits.
        let address = u64::from(u32::from(self.range.network())) + part * self.size();
        Ipv4Net::new_assert((address as u32).into(), self.prefix)
    }

    fn part(&self, subnet: Ipv4Net) -> Option<u64> {
        let inside = subnet.prefix_len() == self.prefix && self.range.contains(&subnet);
        let offset = u32::from(subnet.network()).checked_sub(u32::from(self.range.network()))?;
        inside.then(|| u64::from(offset) / self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a range")
    }

    #[test]
    fn owners_get_parts_keep_them_and_give_them_back() {
        let mut subnets = Subnets::new(net("10.244.0.0/22"), 24).expect("fits");
        subnets.occupy("b", net("10.244.1.0/24"));
        subnets.occupy("foreign", net("192.168.0.0/24"));
        subnets.occupy("other size", net("10.244.2.0/25"));
        assert_eq!(subnets.allocate("a"), Some(net("10.244.0.0/24")));
        assert_eq!(subnets.allocate("a"), Some(net("10.244.0.0/24")), "asked again, the same");
        assert_eq!(subnets.allocate("c"), Some(net("10.244.2.0/24")));
        assert_eq!(subnets.allocate("d"), Some(net("10.244.3.0/24")));
        assert_eq!(subnets.allocate("e"), None);
        subnets.release("b");
        assert_eq!(subnets.allocate("e"), Some(net("10.244.1.0/24")));
        subnets.occupy("c", net("10.244.1.0/24"));
        assert_eq!(subnets.allocate("f"), Some(net("10.244.2.0/24")), "c was moved, e keeps its own");
    }

    #[test]
    fn the_whole_address_space_and_single_addresses_are_parts_too() {
        assert_eq!(Subnets::new(net("0.0.0.0/0"), 0).expect("fits").allocate("a"), Some(net("0.0.0.0/0")));
        let mut top = Subnets::new(net("255.255.255.254/31"), 32).expect("fits");
        assert_eq!(
            (top.allocate("a"), top.allocate("b")),
            (Some(net("255.255.255.254/32")), Some(net("255.255.255.255/32")))
        );
        let mut untidy = Subnets::new(net("10.0.0.7/30"), 31).expect("fits");
        assert_eq!(untidy.allocate("a"), Some(net("10.0.0.4/31")));
    }

    #[test]
    fn impossible_cuts_are_refused() {
        let cut = |range: &str, prefix| Subnets::new(net(range), prefix).map(|_| ());
        assert!(matches!(cut("10.244.0.0/16", 8), Err(CutError::TooLarge { .. })));
        assert!(matches!(cut("10.244.0.0/16", 33), Err(CutError::TooLarge { .. })));
        assert!(matches!(cut("10.0.0.0/8", 32), Err(CutError::TooMany { .. })));
    }
}
