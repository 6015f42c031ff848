//! What differs from run to run, replaced by what it is.

use std::sync::LazyLock;

use regex::Regex;

/// Patterns and what stands for them, in this order.
const PATTERNS: [(&str, &str); 29] = [
    // A kubectl before v1.36 says so of the empty message that every server begins with, if it was kept waiting.
    (r"^[EWI]\d{4} .* websocket\.go:\d+\] Unknown stream id \d, discarding message\n", ""),
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN"),
    (r"sha256:[0-9a-f]{64}", "DIGEST"),
    (r"skiff://[0-9a-f]+", "CONTAINER"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
    (r"[EWI]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", "LOG "),
    (r"\b10\.244\.\d+\.\d+\b", "POD-IP"),
    (r"\b10\.(9[6-9]|10\d|11[01])\.\d+\.\d+\b", "SERVICE-IP"),
    (r"127\.0\.0\.1:\d+ -> ", "127.0.0.1:PORT -> "),
    (r"\[::1\]:\d+ -> ", "[::1]:PORT -> "),
    (r"\b3[0-2]\d{3}(/TCP|$)", "NODE-PORT$1"),
    (r#"(resourceVersion: "|resourceVersion":"|resourceVersion": ")\d+"#, "${1}VERSION"),
    (r"\b(pod-template-hash[=:] ?)[a-z0-9]{8,10}\b", "${1}HASH"),
    (r"-[bcdf0-9]{1}[bcdfghjklmnpqrstvwxz0-9]{7,9}-[bcdfghjklmnpqrstvwxz0-9]{5}\b", "-HASH-ID"),
    (r"\b(web|other|hello|echo)-[bcdf0-9][bcdfghjklmnpqrstvwxz0-9]{7,9}\b", "$1-HASH"),
    (r"\b(web|other|hello|echo|debugger-web)-[bcdfghjklmnpqrstvwxz0-9]{5}\b", "$1-ID"),
    (r"kube-api-access-[bcdfghjklmnpqrstvwxz0-9]{5}", "kube-api-access-ID"),
    (r"\b(\d+d)?(\d+h)?(\d+m)?\d+s( ago)?\b", "AGE"),
    (r"<invalid>", "AGE"),
    (r"X509SHA256=[0-9a-f]{64}", "X509SHA256=DIGEST"),
    (r"/tmp/(LIVE|MERGED|kubectl-edit)-\d+", "/tmp/$1"),
    (r#"(\\"resourceVersion\\":\\")\d+"#, "${1}VERSION"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "TIME"),
    (r"(Resource Version: +)\d+", "${1}VERSION"),
    (r"(?P<before>\S) {2,}", "$before  "),
];

static FILTERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    PATTERNS.iter().map(|(pattern, by)| (Regex::new(&format!("(?m){pattern}")).expect("a pattern"), *by)).collect()
});

/// A command's output without what differs from run to run.
pub(crate) fn filter(output: &str, namespace: &str) -> String {
    let mut text = output.replace("\r\n", "\n").replace(namespace, "NS");
    for (pattern, by) in FILTERS.iter() {
        text = pattern.replace_all(&text, *by).into_owned();
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn what_differs_is_replaced_and_nothing_else() {
    let output = "NAME                 AGE\nweb-5666c97d85-27hfz   2m13s  10.244.0.17 10.100.3.4 k-1-33-x\nmy-webhook 80:31234/TCP";
    assert_eq!(
        filter(output, "k-1-33-x"),
        "NAME  AGE\nweb-HASH-ID  AGE  POD-IP SERVICE-IP NS\nmy-webhook 80:NODE-PORT/TCP"
    );
    assert_eq!(filter("deployment.apps/web created\n", "k-1"), "deployment.apps/web created");
    let late = "E1121 16:08:18.483057    7516 websocket.go:297] Unknown stream id 1, discarding message\ncontent\n";
    assert_eq!(filter(late, "k-1"), "content");
}
