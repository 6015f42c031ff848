//! The final status of a command, as the error stream carries it.

use serde_json::{Value, json};

/// `v4` and later: a Status object (upstream: `cri-streaming/pkg/streaming/remotecommand/{exec,status}.go`).
pub(crate) fn as_json(outcome: &Result<i32, String>) -> Vec<u8> {
    let status: Value = match outcome {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(error) => {
            let text = format!("error executing command in container: {error}");
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {text}"),
                "reason": "InternalError",
                "details": { "causes": [{ "message": text }] },
                "code": 500,
            })
        }
    };
    status.to_string().into_bytes()
}

/// Up to `v3`: a text if something went wrong, nothing otherwise.
pub(crate) fn as_text(outcome: &Result<i32, String>) -> Vec<u8> {
    match outcome {
        Ok(0) => Vec::new(),
        Ok(code) => format!("command terminated with non-zero exit code: exit status {code}").into_bytes(),
        Err(error) => format!("Internal error occurred: error executing command in container: {error}").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_look_for() {
        let parse = |outcome| serde_json::from_slice::<Value>(&as_json(&outcome)).expect("JSON");
        assert_eq!(parse(Ok(0))["status"], "Success");
        let failed = parse(Ok(3));
        assert_eq!(
            (&failed["reason"], &failed["details"]["causes"][0]["message"]),
            (&json!("NonZeroExitCode"), &json!("3"))
        );
        assert_eq!(failed["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(parse(Err("no such file".into()))["code"], 500);
        assert!(as_text(&Ok(0)).is_empty());
    }
}
