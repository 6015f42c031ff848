//! A set of numbers from 0 to a limit.

/// See the module.
#[derive(Clone, Debug)]
pub struct Bitmap {
    words: Vec<u64>,
    size: u32,
    count: u32,
}

impl Bitmap {
    /// An empty set of numbers below `size`.
    pub fn new(size: u32) -> Self {
        Self { words: vec![0; (size as usize).div_ceil(64)], size, count: 0 }
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many numbers there could be.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        number < self.size && self.words[number as usize / 64] >> (number % 64) & 1 == 1
    }

    /// Adds a number; `false` if it was there or is too large.
    pub fn insert(&mut self, number: u32) -> bool {
        if number >= self.size || self.contains(number) {
            return false;
        }
        self.words[number as usize / 64] |= 1 << (number % 64);
        self.count += 1;
        true
    }

    /// Removes a number; `false` if it was not there.
    pub fn remove(&mut self, number: u32) -> bool {
        if !self.contains(number) {
            return false;
        }
        self.words[number as usize / 64] &= !(1 << (number % 64));
        self.count -= 1;
        true
    }

    /// The first number in `from..to` that is not in the set.
    pub fn first_free(&self, from: u32, to: u32) -> Option<u32> {
        let to = to.min(self.size);
        let mut at = from;
        while at < to {
            let free = !self.words[at as usize / 64] >> (at % 64);
            if free != 0 {
                let found = at + free.trailing_zeros();
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_free() {
        let mut set = Bitmap::new(200);
        assert!((0..130).all(|n| set.insert(n)));
        assert!(!set.insert(5) && !set.insert(200));
        assert_eq!(set.first_free(0, 200), Some(130));
        assert_eq!(set.first_free(0, 130), None);
        assert!(set.remove(64) && !set.remove(64));
        assert_eq!((set.first_free(0, 200), set.count()), (Some(64), 129));
        assert_eq!(set.first_free(199, 500), Some(199));
    }
}
