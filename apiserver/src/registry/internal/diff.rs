//! The difference of two texts in unified form, as Python's difflib and its Go translation find it.
//!
//! Follows `github.com/pmezard/go-difflib`, which upstream's `k8s.io/apimachinery/pkg/util/diff` uses: the longest run of
//! equal lines first, then what is left and right of it. Lines that are frequent in a long text begin no run.

use std::collections::HashMap;
use std::fmt::Write;

/// Equal lines shown around each change.
const CONTEXT: usize = 3;
/// Texts of this many lines have frequent lines.
const LONG: usize = 200;

struct Block {
    a: usize,
    b: usize,
    size: usize,
}

/// The hunks, without a header.
pub fn unified(a: &str, b: &str) -> String {
    let (a, b) = (lines(a), lines(b));
    let mut out = String::new();
    for group in groups(&changes(&blocks(&a, &b), a.len(), b.len())) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let _ = writeln!(out, "@@ -{} +{} @@", range(first.a.start, last.a.end), range(first.b.start, last.b.end));
        for change in group {
            if change.equal {
                a[change.a].iter().for_each(|line| out.push_str(&format!(" {line}")));
            } else {
                a[change.a].iter().for_each(|line| out.push_str(&format!("-{line}")));
                b[change.b].iter().for_each(|line| out.push_str(&format!("+{line}")));
            }
        }
    }
    out
}

/// Each line with its end; the last gets one, too.
fn lines(text: &str) -> Vec<String> {
    text.split('\n').map(|line| format!("{line}\n")).collect()
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

fn blocks(a: &[String], b: &[String]) -> Vec<Block> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if b.len() >= LONG {
        let most = b.len() / 100 + 1;
        places.retain(|_, found| found.len() <= most);
    }
    let mut found = Vec::new();
    let mut todo = vec![(0..a.len(), 0..b.len())];
    while let Some((in_a, in_b)) = todo.pop() {
        let block = longest(a, b, &places, in_a.clone(), in_b.clone());
        if block.size == 0 {
            continue;
        }
        todo.push((in_a.start..block.a, in_b.start..block.b));
        todo.push((block.a + block.size..in_a.end, block.b + block.size..in_b.end));
        found.push(block);
    }
    found.sort_by_key(|block| block.a);
    found
}

fn longest(
    a: &[String],
    b: &[String],
    places: &HashMap<&str, Vec<usize>>,
    in_a: std::ops::Range<usize>,
    in_b: std::ops::Range<usize>,
) -> Block {
    let mut best = Block { a: in_a.start, b: in_b.start, size: 0 };
    let mut runs: HashMap<usize, usize> = HashMap::new();
    for i in in_a.clone() {
        let mut next = HashMap::new();
        for &j in places.get(a[i].as_str()).into_iter().flatten().filter(|j| in_b.contains(j)) {
            let run = j.checked_sub(1).and_then(|before| runs.get(&before)).unwrap_or(&0) + 1;
            next.insert(j, run);
            if run > best.size {
                best = Block { a: i + 1 - run, b: j + 1 - run, size: run };
            }
        }
        runs = next;
    }
    // Frequent lines may lengthen a run that others began.
    while best.a > in_a.start && best.b > in_b.start && a[best.a - 1] == b[best.b - 1] {
        best = Block { a: best.a - 1, b: best.b - 1, size: best.size + 1 };
    }
    while best.a + best.size < in_a.end
        && best.b + best.size < in_b.end
        && a[best.a + best.size] == b[best.b + best.size]
    {
        best.size += 1;
    }
    best
}

#[derive(Clone)]
struct Change {
    equal: bool,
    a: std::ops::Range<usize>,
    b: std::ops::Range<usize>,
}

fn changes(blocks: &[Block], a_len: usize, b_len: usize) -> Vec<Change> {
    let (mut a, mut b) = (0, 0);
    let mut changes: Vec<Change> = Vec::new();
    for block in blocks.iter().chain([&Block { a: a_len, b: b_len, size: 0 }]) {
        if a < block.a || b < block.b {
            changes.push(Change { equal: false, a: a..block.a, b: b..block.b });
        }
        (a, b) = (block.a + block.size, block.b + block.size);
        match changes.last_mut() {
            Some(last) if last.equal && last.a.end == block.a && last.b.end == block.b => {
                (last.a.end, last.b.end) = (a, b);
            }
            _ if block.size > 0 => changes.push(Change { equal: true, a: block.a..a, b: block.b..b }),
            _ => {}
        }
    }
    changes
}

fn groups(changes: &[Change]) -> Vec<Vec<Change>> {
    let mut groups: Vec<Vec<Change>> = vec![Vec::new()];
    for (index, change) in changes.iter().enumerate() {
        let mut change = change.clone();
        if change.equal {
            let length = change.a.len();
            if index == 0 {
                let skip = length.saturating_sub(CONTEXT);
                (change.a.start, change.b.start) = (change.a.start + skip, change.b.start + skip);
            } else if index == changes.len() - 1 {
                let keep = length.min(CONTEXT);
                (change.a.end, change.b.end) = (change.a.start + keep, change.b.start + keep);
            } else if length > 2 * CONTEXT {
                let end = Change {
                    equal: true,
                    a: change.a.start..change.a.start + CONTEXT,
                    b: change.b.start..change.b.start + CONTEXT,
                };
                groups.last_mut().into_iter().for_each(|group| group.push(end.clone()));
                groups.push(Vec::new());
                let skip = length - CONTEXT;
                (change.a.start, change.b.start) = (change.a.start + skip, change.b.start + skip);
            }
        }
        groups.last_mut().into_iter().for_each(|group| group.push(change.clone()));
    }
    groups.retain(|group| group.iter().any(|change| !change.equal));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks() {
        let a = (1..=20).map(|n| n.to_string()).collect::<Vec<_>>();
        let mut b = a.clone();
        b[4] = "x".into();
        b.remove(15);
        let wanted =
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n@@ -13,7 +13,6 @@\n 13\n 14\n 15\n-16\n 17\n 18\n 19\n";
        assert_eq!(unified(&a.join("\n"), &b.join("\n")), wanted);
        assert_eq!(unified("a", "a"), "");
    }
}
