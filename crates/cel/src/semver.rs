//! Semantic versions (`apiserver/pkg/cel/library/semverlib.go`).

use std::cmp::Ordering;
use std::fmt;

/// A version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Semver {
    /// Major, minor and patch.
    pub numbers: [u64; 3],
    /// What comes before the release.
    pre: Vec<String>,
    /// What does not matter for the order.
    build: String,
}

impl Semver {
    /// Reads a version.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let (rest, build) = text.split_once('+').unwrap_or((text, ""));
        let (core, pre) = match rest.split_once('-') {
            Some((core, pre)) => (core, pre.split('.').map(str::to_owned).collect()),
            None => (rest, Vec::new()),
        };
        let parts = core.split('.').collect::<Vec<_>>();
        let [major, minor, patch] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let number = |what: &str, part: &str| {
            if !part.bytes().all(|c| c.is_ascii_digit()) || part.is_empty() {
                return Err(format!("Invalid character(s) found in {what} number {part:?}"));
            }
            if part.len() > 1 && part.starts_with('0') {
                return Err(format!("{} number must not contain leading zeroes {part:?}", capitalized(what)));
            }
            part.parse::<u64>().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: value out of range"))
        };
        let numbers = [number("major", major)?, number("minor", minor)?, number("patch", patch)?];
        let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let pre: Vec<String> = pre;
        for part in &pre {
            let numeric = part.bytes().all(|c| c.is_ascii_digit());
            if part.is_empty() {
                return Err("Prerelease is empty".to_owned());
            }
            if numeric && part.len() > 1 && part.starts_with('0') {
                return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
            }
            if !word(part) {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            }
        }
        if text.contains('+') {
            for part in build.split('.') {
                if part.is_empty() {
                    return Err("Build meta data is empty".to_owned());
                }
                if !word(part) {
                    return Err(format!("Invalid character(s) found in build meta data {part:?}"));
                }
            }
        }
        Ok(Self { numbers, pre, build: build.to_owned() })
    }

    /// Reads a version that may lead with `v`, have leading zeros, and lack numbers.
    pub fn parse_tolerant(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts = text.splitn(3, '.').map(str::to_owned).collect::<Vec<_>>();
        for part in parts.iter_mut().filter(|part| part.len() > 1) {
            let trimmed = part.trim_start_matches('0');
            *part = if trimmed.starts_with(|c: char| c.is_ascii_digit()) {
                trimmed.to_owned()
            } else {
                format!("0{trimmed}")
            };
        }
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        while parts.len() < 3 {
            parts.push("0".to_owned());
        }
        Self::parse(&parts.join("."))
    }
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| compare_parts(a, b));
                let differing = parts.into_iter().find(|order| order.is_ne());
                differing.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Numbers come before words.
fn compare_parts(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_an_order() {
        let order =
            ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0-rc.2", "1.0.0-rc.11", "1.0.0", "1.2.0", "2.0.0"];
        let versions = order.map(|text| Semver::parse(text).expect(text));
        assert!(versions.is_sorted());
        for wrong in ["", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0+é", "1.0.x"] {
            assert!(Semver::parse(wrong).is_err(), "{wrong}");
        }
        for (text, want) in [("v1.2", "1.2.0"), ("01.002.3", "1.2.3"), ("v1", "1.0.0"), ("1.2.3-a+b", "1.2.3-a+b")] {
            assert_eq!(Semver::parse_tolerant(text).expect(text).to_string(), want);
        }
    }
}
