//! One script with one kubectl, in a namespace of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::Value;
use skiff_tests::http1;
use skiff_tests::kubectl::Kubectl;
use skiff_tests::table;

use crate::filter::filter;
use crate::script::{self, Action, Step};
use crate::target::Target;
use crate::terminal;

/// How long a state may take until another client sees it, and how often it looks.
const READ_BACK: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(100);

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What kubectl says when nothing has been shown for a while.
const HINT: &str = "If you don't see a command prompt, try pressing enter.\n";

/// How a script went with a version.
pub(crate) struct Outcome {
    /// The kubectl.
    pub(crate) version: String,
    /// The script.
    pub(crate) name: String,
    passed: usize,
    all: usize,
    /// The first difference, or all.
    pub(crate) differences: Vec<String>,
}

impl Outcome {
    /// How it went, in a word of a table.
    pub(crate) fn result(&self) -> table::Outcome {
        if self.differences.is_empty() {
            table::Outcome::Passed(self.all)
        } else {
            table::Outcome::Failed(format!("{} of {}", self.passed, self.all))
        }
    }
}

/// A script at work.
pub(crate) struct Session {
    name: String,
    version: String,
    namespace: String,
    home: PathBuf,
    client: Client,
}

impl Session {
    /// Makes the namespace, and a home in which `kubectl` is the one to test.
    pub(crate) fn new(
        target: &Target,
        kubectl: &Kubectl,
        name: &str,
    ) -> impl Future<Output = Session> + Send + 'static {
        let namespace = format!("k-{}-{name}", kubectl.version.replace('.', "-"));
        let home = target.folder.join(&namespace);
        let session = Session {
            name: name.to_owned(),
            version: kubectl.version.clone(),
            namespace,
            home,
            client: target.client.clone(),
        };
        let (kubectl, kubeconfig) = (kubectl.path.clone(), target.kubeconfig.clone());
        async move {
            session.prepare(&kubectl, &kubeconfig);
            session
        }
    }

    fn prepare(&self, kubectl: &Path, kubeconfig: &Path) {
        let bin = self.home.join("bin");
        std::fs::create_dir_all(&bin).expect("a home");
        std::os::unix::fs::symlink(kubectl, bin.join("kubectl")).expect("a link to kubectl");
        std::fs::copy(kubeconfig, self.home.join("kubeconfig")).expect("a kubeconfig");
        for entry in std::fs::read_dir(crate::folder()).expect("the manifests").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(entry.path()).expect("a manifest");
                std::fs::write(self.home.join(entry.file_name()), text.replace("NS", &self.namespace)).expect("a copy");
            }
        }
        let made = self.run_to_end(&format!("kubectl create namespace {}", self.namespace));
        assert!(made.ends_with("created\n"), "{made}");
        self.run_to_end(&format!("kubectl config set-context --current --namespace {}", self.namespace));
    }

    /// Runs the script up to the first difference, or to its end, or learns from what is shown: as the first version to speak.
    pub(crate) async fn run(self, path: &Path, learn: Option<bool>) -> Outcome {
        let mut steps = script::parse(&std::fs::read_to_string(path).expect("a script"));
        let (mut differences, mut passed, all) = (Vec::new(), 0, steps.len());
        for step in &mut steps {
            let expected = step.expected(&self.version).to_owned();
            let shown = self.act(step, &expected).await;
            if let Some(first) = learn {
                step.learn(&self.version, first, shown);
            } else if shown != expected {
                let (version, name, line) = (&self.version, &self.name, &step.line);
                let text =
                    format!("=== kubectl {version}, {name}: {line}\n--- expected\n{expected}\n--- shown\n{shown}\n");
                differences.push(text);
                if !keep_going() {
                    break;
                }
                continue;
            }
            passed += 1;
        }
        if learn.is_some() {
            std::fs::write(path, script::render(&steps)).expect("the script is written");
        }
        self.run_to_end(&format!("kubectl delete namespace {} --wait=false", self.namespace));
        Outcome { version: self.version, name: self.name, passed, all, differences }
    }

    async fn act(&self, step: &Step, expected: &str) -> String {
        let shown = match &step.action {
            Action::Run(command) => self.run_to_end(&self.named(command)),
            Action::Until(word, command) => self.until(&self.named(command), word),
            Action::Forward(command) => self.forward(&self.named(command)).await,
            Action::Terminal(typed, command) => answers(&terminal::run(self.shell(&self.named(command)), typed)),
            Action::Read(path, pointer) => return self.read_back(&self.named(path), pointer, expected).await,
        };
        filter(&shown, &self.namespace)
    }

    fn named(&self, text: &str) -> String {
        text.replace("NS", &self.namespace)
    }

    /// The shell with a command, in this session's home. It must not outlive its killer, so it is replaced by it.
    fn shell(&self, command: &str) -> Command {
        self.at_home(Command::new("sh"), &["-c", &format!("exec 2>&1; exec {command}")])
    }

    fn at_home(&self, mut command: Command, arguments: &[&str]) -> Command {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.home.join("bin").display());
        command.args(arguments).current_dir(&self.home).env_clear().stdin(Stdio::null());
        command.env("PATH", path).env("HOME", &self.home).env("KUBECONFIG", self.home.join("kubeconfig"));
        command.env("TERM", "dumb").env("LANG", "C.UTF-8");
        command
    }

    fn run_to_end(&self, command: &str) -> String {
        let (seconds, command) = (PATIENCE.as_secs().to_string(), format!("exec 2>&1; {command}"));
        let arguments = ["--foreground", &seconds, "sh", "-c", &command];
        let output = self.at_home(Command::new("timeout"), &arguments).output().expect("the shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(0) => text,
            Some(code) => format!("{text}\n[exit {code}]"),
            None => format!("{text}\n[{}]", output.status),
        }
    }

    /// Runs a command until it has printed a line with this word, and returns what came up to there.
    fn until(&self, command: &str, word: &str) -> String {
        let (child, text, _) = self.start(command, |text| line_with(text, word).is_some());
        end(child);
        line_with(&text, word).map_or(text.as_str(), |end| &text[..end]).replace(HINT, "")
    }

    /// Starts a command and returns when what it has printed is enough, and whether it was.
    fn start(&self, command: &str, enough: impl Fn(&str) -> bool) -> (std::process::Child, String, bool) {
        let mut shell = self.shell(command);
        let mut child = shell.stdout(Stdio::piped()).spawn().expect("the shell");
        let mut output = child.stdout.take().expect("its output");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Read to the end even when nobody listens any more: a closed pipe would end the command.
            while let Ok(count) = output.read(&mut bytes)
                && count > 0
            {
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        let (mut text, begun) = (String::new(), Instant::now());
        loop {
            match receiver.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => return (child, text + "\n[it ended without it]", false),
            }
            if enough(&text) {
                return (child, text, true);
            }
        }
    }

    /// Forwards a port and asks for `/` through it.
    async fn forward(&self, command: &str) -> String {
        let (child, text, found) = self.start(command, |text| port_of(text).is_some());
        let answer = match port_of(&text).filter(|_| found) {
            Some(port) => match http1::get(&format!("127.0.0.1:{port}"), "/").await {
                Ok(body) => body,
                Err(error) => format!("{error:#}"),
            },
            None => String::new(),
        };
        end(child);
        format!("{}\n{answer}", text.lines().next().unwrap_or_default())
    }

    /// Reads with kube-rs until it is as expected, and returns what was there last.
    async fn read_back(&self, path: &str, pointer: &str, expected: &str) -> String {
        let (begun, patience) = (Instant::now(), if keep_going() { READ_BACK / 8 } else { READ_BACK });
        loop {
            let request = http::Request::get(path).body(Vec::new()).expect("a request");
            let shown = match self.client.request::<Value>(request).await {
                Ok(object) => object.pointer(pointer).map_or("nothing".to_owned(), Value::to_string),
                Err(kube::Error::Api(status)) => status.code.to_string(),
                Err(error) => error.to_string(),
            };
            let shown = filter(&shown, &self.namespace);
            if shown == expected || expected.is_empty() || begun.elapsed() > patience {
                return shown;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether all differences are to be shown: then nobody waits long for any of them.
fn keep_going() -> bool {
    std::env::var_os("KUBECTL_KEEP_GOING").is_some()
}

/// Where the first whole line with this word ends.
fn line_with(text: &str, word: &str) -> Option<usize> {
    let at = text.find(word)?;
    text[at..].find('\n').map(|end| at + end)
}

/// What a terminal showed beside prompts, what was typed at them, and what came before the first. When the prompt comes
/// and how often is up to the two ends.
fn answers(shown: &str) -> String {
    let after = shown.find(terminal::PROMPT).map_or(shown, |at| &shown[at..]);
    // The end of `--rm` may stand on the last prompt's line or on one of its own.
    let lines = after.lines().filter(|line| !line.contains(terminal::PROMPT) && !line.starts_with("pod \""));
    lines.collect::<Vec<_>>().join("\n")
}

fn end(mut child: std::process::Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn port_of(text: &str) -> Option<u16> {
    let rest = text.lines().find(|line| line.ends_with(|c: char| c.is_ascii_digit()))?.split_once("127.0.0.1:")?.1;
    rest.split(' ').next()?.parse().ok()
}
