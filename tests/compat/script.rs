//! The scripts: commands with what they print, in one text that is also the documentation of what is promised.
//!
//! ```text
//! # a comment
//! $ kubectl create configmap c --from-literal=a=1      a command of the shell
//! configmap/c created                                  what it prints, filtered
//! --- 1.27 1.28                                        what these versions print instead
//! configmap/c made
//! > /api/v1/namespaces/NS/configmaps/c /data           read back by another client until it is
//! {"a":"1"}                                            this
//! $until ready kubectl get pods -w                     ended when it has printed this word
//! $forward kubectl port-forward svc/web :80            asked for / through the port, then ended
//! $terminal exit kubectl exec -it web -- sh            in a terminal, typed at its prompt
//! \# shown                                             what is shown may begin like a line of a script
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A command of the shell.
    Run(String),
    /// A command that is ended when its output has this word.
    Until(String, String),
    /// A command that forwards a port.
    Forward(String),
    /// A command in a terminal, and what is typed at its first prompt; `\n` ends a line.
    Terminal(String, String),
    /// A path that is read by another client, and a pointer into the answer.
    Read(String, String),
}

/// One action and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Comments and empty lines before it.
    pub(crate) before: String,
    /// Its line in the script.
    pub(crate) line: String,
    /// What is done.
    pub(crate) action: Action,
    /// What it shows.
    pub(crate) expected: String,
    /// What it shows with other versions.
    pub(crate) others: BTreeMap<String, String>,
}

impl Step {
    /// What it shows with a version.
    pub(crate) fn expected(&self, version: &str) -> &str {
        let mut others = self.others.iter().filter(|(versions, _)| versions.split(' ').any(|other| other == version));
        others.next().map_or(&self.expected, |(_, expected)| expected)
    }
}

impl Step {
    /// Takes what a version showed for what it shows: the first to be asked speaks for all, others for themselves.
    pub(crate) fn learn(&mut self, version: &str, first: bool, shown: String) {
        if first {
            self.expected = shown;
            self.others.clear();
            return;
        }
        let mut others: BTreeMap<String, String> = BTreeMap::new();
        for (versions, text) in std::mem::take(&mut self.others) {
            let rest = versions.split(' ').filter(|other| *other != version).collect::<Vec<_>>().join(" ");
            if !rest.is_empty() {
                others.insert(rest, text);
            }
        }
        let same = others.iter().find(|(_, text)| **text == shown).map(|(versions, _)| versions.clone());
        let versions = same.and_then(|same| others.remove(&same).map(|_| format!("{same} {version}")));
        if shown != self.expected {
            others.insert(versions.unwrap_or_else(|| version.to_owned()), shown);
        }
        self.others = others;
    }
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut before, mut versions) = (String::new(), None);
    for line in text.lines() {
        if let Some(action) = action(line) {
            let (before, others) = (std::mem::take(&mut before), BTreeMap::new());
            steps.push(Step { before, line: line.to_owned(), action, expected: String::new(), others });
            versions = None;
        } else if line.starts_with('#') || (line.is_empty() && steps.is_empty()) {
            let _ = writeln!(before, "{line}");
        } else if let (Some(others), Some(_)) = (line.strip_prefix("--- "), steps.last()) {
            versions = Some(others.to_owned());
        } else if let Some(step) = steps.last_mut() {
            let text = match &versions {
                Some(versions) => step.others.entry(versions.clone()).or_default(),
                None => &mut step.expected,
            };
            let _ = writeln!(text, "{}", line.strip_prefix('\\').unwrap_or(line));
        }
    }
    for step in &mut steps {
        step.expected = step.expected.trim_end().to_owned();
        step.others.values_mut().for_each(|text| *text = text.trim_end().to_owned());
    }
    steps
}

/// Writes a script.
pub(crate) fn render(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "{}{}", step.before, step.line);
        if !step.expected.is_empty() {
            let _ = writeln!(text, "{}", quoted(&step.expected));
        }
        for (versions, expected) in &step.others {
            let _ = writeln!(text, "--- {versions}\n{}", quoted(expected));
        }
    }
    text
}

/// What is shown, with a sign before lines that would be read as something else.
fn quoted(shown: &str) -> String {
    let special = |line: &str| line.starts_with(['#', '\\']) || line.starts_with("--- ") || action(line).is_some();
    let quote = |line: &str| if special(line) { format!("\\{line}") } else { line.to_owned() };
    shown.lines().map(quote).collect::<Vec<_>>().join("\n")
}

fn action(line: &str) -> Option<Action> {
    let (word, rest) = line.split_once(' ')?;
    let two = |rest: &str| rest.split_once(' ').map(|(one, two)| (one.to_owned(), two.to_owned()));
    match word {
        "$" => Some(Action::Run(rest.to_owned())),
        "$until" => two(rest).map(|(word, command)| Action::Until(word, command)),
        "$forward" => Some(Action::Forward(rest.to_owned())),
        "$terminal" => {
            two(rest).map(|(typed, command)| Action::Terminal(typed.replace("\\n", "\n").replace('_', " "), command))
        }
        ">" => Some(two(rest).map_or_else(
            || Action::Read(rest.to_owned(), String::new()),
            |(path, pointer)| Action::Read(path, pointer),
        )),
        _ => None,
    }
}

#[test]
fn a_script_is_the_same_after_reading_and_writing() {
    let text = "# about\n\n$ kubectl version\n1.33\n--- 1.27 1.28\n\\# 1.2x\n# next\n> /api/v1/x /data\n{}\n$until Running kubectl get -w\n";
    let steps = parse(text);
    assert_eq!(steps.len(), 3);
    assert_eq!((steps[0].expected("1.33"), steps[0].expected("1.28")), ("1.33", "# 1.2x"));
    assert_eq!(steps[1].action, Action::Read("/api/v1/x".to_owned(), "/data".to_owned()));
    assert_eq!(render(&steps), text);
}

#[test]
fn versions_that_say_the_same_stand_together() {
    let mut step = parse("$ kubectl version\n").swap_remove(0);
    for (version, first, shown) in
        [("1.33", true, "a"), ("1.28", false, "b"), ("1.27", false, "b"), ("1.30", false, "a")]
    {
        step.learn(version, first, shown.to_owned());
    }
    assert_eq!(step.others, BTreeMap::from([("1.28 1.27".to_owned(), "b".to_owned())]));
    assert_eq!(step.expected("1.30"), "a");
}
