//! A command in a terminal, with somebody who types at its prompt.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};

/// How long the command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a shell shows when it waits for a command.
pub(crate) const PROMPT: &str = "# ";

/// Runs a command in a terminal, types at its first prompt, and returns all that the terminal showed.
pub(crate) fn run(mut command: Command, typed: &str) -> String {
    let size = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a terminal");
    let end = || Stdio::from(slave.try_clone().expect("its end"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the command");
    // The command holds copies; ours would keep the terminal open after its end.
    drop((slave, command));
    let (mut typing, mut showing) = (File::from(master.try_clone().expect("the terminal")), File::from(master));
    let (shown, screen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // Reading fails once nobody has the other end.
        while let Ok(count) = showing.read(&mut bytes) {
            if count == 0 || shown.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let (mut text, mut typed, begun) = (Vec::new(), Some(typed), Instant::now());
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        match screen.recv_timeout(left) {
            Ok(bytes) => text.extend(bytes),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                text.extend(b"\n[the terminal is still open]");
                break;
            }
        }
        if String::from_utf8_lossy(&text).contains(PROMPT)
            && let Some(typed) = typed.take()
        {
            typing.write_all(format!("{typed}\n").as_bytes()).expect("typed");
        }
    }
    let _ = child.kill();
    let status = child.wait().expect("the command's end");
    let text = String::from_utf8_lossy(&text).into_owned();
    if status.success() { text } else { format!("{text}\n[{status}]") }
}
