//! Signals by the names that CRI and images use.

use skiff_cri::v1::Signal;

pub(crate) const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// First real-time signal that programs may use with glibc and musl alike, as `kill -l` counts.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// The signal that asks a container to stop: the configuration's, else the image's, else SIGTERM.
pub(crate) fn stop_signal(configured: Signal, image: Option<&str>) -> i32 {
    let configured = configured.as_str_name().strip_prefix("SIGNAL_").unwrap_or_default();
    number(configured).or_else(|| image.and_then(number)).unwrap_or(SIGTERM)
}

/// The number of a signal given as number or name, with or without `SIG`; `SIGRTMIN+3` and CRI's `SIGRTMINPLUS3`.
fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let relative = |base: i32, rest: &str, plus: [&str; 2]| {
        let offset = plus.iter().find_map(|sign| rest.strip_prefix(sign))?.parse::<i32>().ok()?;
        let number = if base == SIGRTMIN { base + offset } else { base - offset };
        (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number)
    };
    match bare {
        "RTMIN" => return Some(SIGRTMIN),
        "RTMAX" => return Some(SIGRTMAX),
        _ => {}
    }
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return relative(SIGRTMIN, rest, ["+", "PLUS"]);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return relative(SIGRTMAX, rest, ["-", "MINUS"]);
    }
    let known = match bare {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        other => other,
    };
    format!("SIG{known}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, expected) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMINPLUS3", Some(37)),
            ("SIGRTMAXMINUS1", Some(63)),
            ("SIGRTMAX", Some(64)),
            ("SIGPOLL", Some(29)),
            ("SIGNOPE", None),
            ("RUNTIME_DEFAULT", None),
            ("0", None),
            ("65", None),
            ("", None),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }

    #[test]
    fn every_cri_signal_is_known() {
        for value in 1..=64 {
            let Ok(signal) = Signal::try_from(value) else {
                continue;
            };
            let name = signal.as_str_name().trim_start_matches("SIGNAL_");
            assert!(number(name).is_some(), "{name}");
        }
    }

    #[test]
    fn configuration_before_image_before_default() {
        assert_eq!(stop_signal(Signal::Sigint, Some("SIGQUIT")), 2);
        assert_eq!(stop_signal(Signal::RuntimeDefault, Some("SIGQUIT")), 3);
        assert_eq!(stop_signal(Signal::RuntimeDefault, Some("bogus")), 15);
        assert_eq!(stop_signal(Signal::RuntimeDefault, None), 15);
    }
}
