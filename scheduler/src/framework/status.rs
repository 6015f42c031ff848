//! What a plugin answers.

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Yes.
    Success,
    /// This plugin has nothing to check for this pod.
    Skip,
    /// No, but without some other pods it could be.
    Unschedulable,
    /// No, whatever other pods there are.
    UnschedulableAndUnresolvable,
    /// Something is broken.
    Error,
}

/// An answer with its reasons. Reasons are counted over nodes, so they must not name one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How to take it.
    pub code: Code,
    /// Why, unless it is a success.
    pub reasons: Vec<String>,
}

impl Status {
    /// Yes.
    pub const SUCCESS: Status = Status { code: Code::Success, reasons: Vec::new() };
    /// Nothing to check.
    pub const SKIP: Status = Status { code: Code::Skip, reasons: Vec::new() };

    /// No, but without some other pods it could be.
    pub fn unschedulable(reason: impl Into<String>) -> Self {
        Self { code: Code::Unschedulable, reasons: vec![reason.into()] }
    }

    /// No, whatever other pods there are.
    pub fn unresolvable(reason: impl Into<String>) -> Self {
        Self { code: Code::UnschedulableAndUnresolvable, reasons: vec![reason.into()] }
    }

    /// Whether it is a yes.
    pub fn is_success(&self) -> bool {
        self.code == Code::Success
    }
}
