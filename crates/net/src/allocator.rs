//! Allocation of Service addresses and node ports.
//!
//! Follows `pkg/registry/core/service/{ipallocator,portallocator}`: what nobody asked for by value comes from the upper
//! part of the range, so that the lower part stays free for values that people choose.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use rand::RngExt;

use crate::bitmap::Bitmap;

/// Why nothing was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// Somebody has it.
    #[error("already allocated")]
    Taken,
    /// It is outside the range.
    #[error("not in the valid range")]
    OutOfRange,
    /// Nothing is left.
    #[error("range is full")]
    Full,
}

/// Free places in a range of numbers, the lower band of which is given out last.
#[derive(Clone, Debug)]
struct Range {
    used: Bitmap,
    band: u32,
}

impl Range {
    fn take(&mut self, offset: u32) -> Result<(), AllocationError> {
        if offset >= self.used.size() {
            Err(AllocationError::OutOfRange)
        } else if self.used.insert(offset) {
            Ok(())
        } else {
            Err(AllocationError::Taken)
        }
    }

    /// Any free place: from a random one upwards, then the rest of the upper part, then the lower band.
    fn take_any(&mut self) -> Result<u32, AllocationError> {
        let size = self.used.size();
        let start = if self.band < size { rand::rng().random_range(self.band..size) } else { 0 };
        let free = self
            .used
            .first_free(start, size)
            .or_else(|| self.used.first_free(self.band, start))
            .or_else(|| self.used.first_free(0, self.band));
        let offset = free.ok_or(AllocationError::Full)?;
        self.used.insert(offset);
        Ok(offset)
    }
}

/// Addresses of a range; its first and last one are never given out.
#[derive(Clone, Debug)]
pub struct IpAllocator {
    net: Ipv4Net,
    range: Range,
}

impl IpAllocator {
    /// All addresses of the range free. Ranges of more than 2^20 addresses use the first 2^20.
    pub fn new(net: Ipv4Net) -> Self {
        let bits = u32::from(32 - net.prefix_len()).min(20);
        // Without the network's own address and its broadcast address.
        let size = (1u32 << bits).saturating_sub(2);
        let band = (size / 16).clamp(16, 256).min(size);
        let band = if size <= 16 { 0 } else { band };
        Self { net, range: Range { used: Bitmap::new(size), band } }
    }

    /// The range.
    pub fn net(&self) -> Ipv4Net {
        self.net
    }

    fn offset(&self, ip: Ipv4Addr) -> Result<u32, AllocationError> {
        let offset = u32::from(ip).checked_sub(u32::from(self.net.network()) + 1).ok_or(AllocationError::OutOfRange)?;
        if offset < self.range.used.size() { Ok(offset) } else { Err(AllocationError::OutOfRange) }
    }

    /// Takes a certain address.
    pub fn take(&mut self, ip: Ipv4Addr) -> Result<(), AllocationError> {
        let offset = self.offset(ip)?;
        self.range.take(offset)
    }

    /// Takes any address.
    pub fn take_any(&mut self) -> Result<Ipv4Addr, AllocationError> {
        let offset = self.range.take_any()?;
        Ok(Ipv4Addr::from(u32::from(self.net.network()) + 1 + offset))
    }

    /// Gives an address back.
    pub fn release(&mut self, ip: Ipv4Addr) -> bool {
        self.offset(ip).is_ok_and(|offset| self.range.used.remove(offset))
    }

    /// Whether somebody has the address.
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.offset(ip).is_ok_and(|offset| self.range.used.contains(offset))
    }
}

/// Ports of a range.
#[derive(Clone, Debug)]
pub struct PortAllocator {
    ports: RangeInclusive<u16>,
    range: Range,
}

impl PortAllocator {
    /// All ports of the range free.
    pub fn new(ports: RangeInclusive<u16>) -> Self {
        let size = u32::from(ports.end().saturating_sub(*ports.start())) + 1;
        let band = if size < 32 { 0 } else { (size / 32).clamp(16, 128) };
        Self { ports, range: Range { used: Bitmap::new(size), band } }
    }

    /// The range.
    pub fn ports(&self) -> &RangeInclusive<u16> {
        &self.ports
    }

    fn offset(&self, port: u16) -> Result<u32, AllocationError> {
        if self.ports.contains(&port) {
            Ok(u32::from(port - self.ports.start()))
        } else {
            Err(AllocationError::OutOfRange)
        }
    }

    /// Takes a certain port.
    pub fn take(&mut self, port: u16) -> Result<(), AllocationError> {
        let offset = self.offset(port)?;
        self.range.take(offset)
    }

    /// Takes any port.
    pub fn take_any(&mut self) -> Result<u16, AllocationError> {
        let offset = self.range.take_any()?;
        // Offsets are below the size of a range of u16.
        Ok(self.ports.start() + offset as u16)
    }

    /// Gives a port back.
    pub fn release(&mut self, port: u16) -> bool {
        self.offset(port).is_ok_and(|offset| self.range.used.remove(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let mut ips = IpAllocator::new("10.0.0.0/29".parse().expect("net"));
        assert_eq!(ips.take("10.0.0.0".parse().expect("ip")), Err(AllocationError::OutOfRange));
        assert_eq!(ips.take("10.0.0.7".parse().expect("ip")), Err(AllocationError::OutOfRange));
        assert_eq!(ips.take("10.0.0.1".parse().expect("ip")), Ok(()));
        assert_eq!(ips.take("10.0.0.1".parse().expect("ip")), Err(AllocationError::Taken));
        let mut rest = (0..5).map(|_| ips.take_any().expect("free").octets()[3]).collect::<Vec<_>>();
        rest.sort_unstable();
        assert_eq!((rest, ips.take_any()), (vec![2, 3, 4, 5, 6], Err(AllocationError::Full)));
        assert!(ips.release("10.0.0.4".parse().expect("ip")));
        assert_eq!(ips.take_any(), Ok("10.0.0.4".parse().expect("ip")));
    }

    #[test]
    fn the_lower_band_is_kept_for_choices() {
        let mut ips = IpAllocator::new("10.96.0.0/16".parse().expect("net"));
        let low = "10.96.1.0".parse::<Ipv4Addr>().expect("ip");
        assert!((0..1000).all(|_| ips.take_any().expect("free") > low));
        let mut ports = PortAllocator::new(30000..=32767);
        assert!((0..1000).all(|_| ports.take_any().expect("free") >= 30086));
        assert_eq!(ports.take(29999), Err(AllocationError::OutOfRange));
        assert_eq!(ports.take(30080), Ok(()));
    }
}
